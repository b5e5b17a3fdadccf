"""Signals that are read in parts: each part is what the whole signal has there, whatever format and segments."""

from pathlib import Path

import numpy as np
import pytest

from deep_ecg.records import long_signal, signal_file, wfdb_files
from deep_ecg.records.formats import TextSettings, open_any
from deep_ecg.records.long_signal import LongSignal, around, pieces
from deep_ecg.records.wfdb_files import RecordFile
from tests.support.recordings import write_edf, write_ishne
from tests.support.records import refused, write_record

ROW = np.array([4.0, 1.0, 3.0, 2.0, 5.0])
SAMPLES = np.random.default_rng(0).integers(-100, 100, 600)


@pytest.fixture
def parts(monkeypatch):
    """Signals of more than ten samples are long, and read seven at a time."""
    for module in (wfdb_files, signal_file):
        monkeypatch.setattr(module, "HELD_SAMPLES", 10)
    monkeypatch.setattr(long_signal, "READ_SAMPLES", 7)


def of_row() -> LongSignal:
    return LongSignal(len(ROW), lambda first, last: ROW[first:last])


@pytest.mark.parametrize("signal_mv", [ROW, of_row()], ids=["array", "in parts"])
def test_a_long_signal_stands_for_an_array(signal_mv):
    assert len(signal_mv) == 5 and signal_mv[1:3].tolist() == [1, 3] and signal_mv[3:99].tolist() == [2, 5]
    assert signal_mv[:].tolist() == ROW.tolist() and signal_mv[::2].tolist() == [4, 3, 5]
    assert signal_mv[2:2].tolist() == [] and signal_mv[-2:].tolist() == [2, 5]
    assert np.asarray(signal_mv, np.float32).tolist() == ROW.tolist() and float(np.diff(signal_mv).max()) == 3
    assert [piece.tolist() for piece in pieces(signal_mv, 2)] == [[4, 1], [3, 2], [5]]
    assert around(signal_mv, 1, 2, 1).tolist() == [4, 4, 1, 3] and around(signal_mv, 4, 1, 2).tolist() == [2, 5, 5, 5]


def same_in_parts(path: Path, leads: list[str]):
    record = open_any(path, TextSettings())
    for name in leads:
        whole_mv, long = record.lead(name).signal_mv, record.lead(name, in_parts=True).signal_mv
        assert isinstance(whole_mv, np.ndarray) and isinstance(long, LongSignal) and len(long) == len(whole_mv)
        for first, last in [(0, 1), (1, 2), (2, 40), (33, 34), (50, 101), (97, len(long)), (0, len(long))]:
            assert np.array_equal(long[first:last], whole_mv[first:last], equal_nan=True), (name, first, last)
        assert np.array_equal(np.concatenate(list(pieces(long, 3))), whole_mv, equal_nan=True)


@pytest.mark.parametrize("fmt", ["16", "32x3", "24", "32", "61", "80", "160", "212", "212x2", "310", "311"])
@pytest.mark.parametrize("signals", [1, 2, 3])
def test_parts_are_those_of_the_whole_signal(tmp_path, parts, fmt, signals):
    names = ["I", "II", "V1"][:signals]
    lines = [
        f"r.dat {fmt} 200/mV 12 0 0 0 0 I",
        *(f"r.dat {fmt.split('x')[0]} 50(3)/uV 12 0 0 0 0 {n}" for n in names[1:]),
    ]
    (tmp_path / "r.hea").write_text("\n".join([f"r {signals} 250 120", *lines]) + "\n")
    (tmp_path / "r.dat").write_bytes(np.random.default_rng(1).bytes(120 * 4 * 5))
    same_in_parts(tmp_path / "r", names)


def test_parts_of_segments_and_of_the_gap_between_them(tmp_path, parts):
    for name, first in (("a", 0), ("b", 300)):
        write_record(tmp_path, name, SAMPLES[first : first + 100] / 200)
    (tmp_path / "r.hea").write_text("r/3 1 360 230\na 100\n~ 30\nb 100\n")
    same_in_parts(tmp_path / "r", ["MLII"])
    assert np.isnan(RecordFile.open(tmp_path / "r").lead(0, in_parts=True).signal_mv[99:131]).sum() == 30


@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize("plus", ["", "EDF+C"])
def test_parts_of_edf_and_bdf(tmp_path, parts, bits, plus):
    counts = SAMPLES.reshape(300, 2)
    onsets_s = range(3) if plus else None
    same_in_parts(
        write_edf(tmp_path / "r", counts, 100, ["II", "V5"], onsets_s=onsets_s, plus=plus, bits=bits), ["II", "V5"]
    )


def test_a_discontinuous_edf_is_read_at_once(tmp_path, parts):
    path = write_edf(tmp_path / "r.edf", SAMPLES.reshape(300, 2), 100, ["II", "V5"], onsets_s=[0, 1, 4], plus="EDF+D")
    assert isinstance(open_any(path, TextSettings()).lead("II", in_parts=True).signal_mv, np.ndarray)


def test_parts_of_ishne(tmp_path, parts):
    same_in_parts(write_ishne(tmp_path / "r.ecg", SAMPLES.reshape(300, 2), leads=(6, 8)), ["II", "aVR"])


@pytest.mark.parametrize("line", ["r.dat 8 200/mV 12 0 0 0 0 I", "r.dat 16:2 200/mV 12 0 0 0 0 I"], ids=["8", "skew"])
def test_what_hangs_on_other_samples_is_read_at_once(tmp_path, parts, line):
    (tmp_path / "r.hea").write_text(f"r 1 250 120\n{line}\n")
    (tmp_path / "r.dat").write_bytes(SAMPLES.astype("<i2").tobytes())
    assert isinstance(RecordFile.open(tmp_path / "r").lead(0, in_parts=True).signal_mv, np.ndarray)


def test_a_short_signal_is_held(tmp_path):
    record = RecordFile.open(write_record(tmp_path, "r", SAMPLES / 200))
    assert isinstance(record.lead(0, in_parts=True).signal_mv, np.ndarray)


def test_a_file_that_is_cut_while_it_is_read_is_told(tmp_path, parts):
    signal_mv = RecordFile.open(write_record(tmp_path, "r", SAMPLES / 200)).lead(0, in_parts=True).signal_mv
    with open(tmp_path / "r.dat", "r+b") as file:
        file.truncate(500)
    refused(lambda: signal_mv[:10], "r.dat", "truncated")
    refused(lambda: signal_mv[245:255], "r.dat", "truncated or broken")


def test_parts_are_checked_as_the_whole_is(tmp_path, parts):
    flat = RecordFile.open(write_record(tmp_path, "flat", np.zeros(100)))
    refused(lambda: flat.lead(0, in_parts=True), "flat", "the signal is flat")
    (tmp_path / "lost.hea").write_text("lost 1 360 100\nlost.dat 16 200/mV 12 0 0 0 0 I\n")
    (tmp_path / "lost.dat").write_bytes(np.full(100, -(2**15), "<i2").tobytes())  # the value that stands for none
    lost = RecordFile.open(tmp_path / "lost")
    refused(lambda: lost.lead(0, in_parts=True), "none of its samples is a number")
