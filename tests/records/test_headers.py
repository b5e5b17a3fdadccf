"""Headers as they are published, frames of several samples, records of several segments."""

import datetime
from pathlib import Path

import numpy as np
import pytest
import wfdb

from deep_ecg.records.headers import read_header
from deep_ecg.records.wfdb_files import RecordFile
from tests.support.records import refused

COUNTS = np.random.default_rng(0).integers(-900, 900, (600, 3))


def written(folder: Path, name: str, header: str | bytes, counts: np.ndarray, ending: str = "dat", at: int = 0) -> Path:
    """Record `name`: its header and its samples in format 16, from byte `at` of its file on."""
    content = header if isinstance(header, bytes) else header.encode()
    (folder / f"{name}.hea").write_bytes(content)
    (folder / f"{name}.{ending}").write_bytes(bytes(at) + counts.astype("<i2").tobytes())
    return folder / name


# Published headers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first, line, expected",
    [
        ("r 1 300 600 2014-05-08 05:05:15", "r.mat 16+24 1000/mV 16 0 -127 0 0 ECG", (300, 1000, 0, "ECG")),
        ("r 1 500 600 05-Feb-2020 11:39:16", "r.mat 16+24 1000/mV 16 0 28 -1716 0 I", (500, 1000, 0, "I")),
        ("r 1 500 600 05-May-2020 14:50:55", "r.mat 16x1+24 1000.0(0)/mV 16 0 -29 8450 0 I", (500, 1000, 0, "I")),
        ("r 1 360 600 2006", "r.mat 16+24 200/mV 16 0 0 0 0 ECG", (360, 200, 0, "ECG")),
        ("r 1 360 600", "r.mat 16+24 200/mV 16 0 0 0 0", (360, 200, 0, "signal 1")),
        ("r 1 360 0", "r.mat 16+24 200.0/mV 16 0 0 0 0 II", (360, 200, 0, "II")),
        ("r 1 360 600 12:00 1/2/1990", "r.mat 16+24 200(7)/mV 12 1024 0 0 0 II", (360, 200, 7, "II")),
        ("r 1 360 600", "r.mat 16+24 0 12 1024 0 0 0 II", (360, 200, 1024, "II")),
        ("r 1 360 600", "r.mat 16+24 200/mV II", (360, 200, 0, "II")),
        ("r 1 360 600", "r.mat 16+24", (360, 200, 0, "signal 1")),
        ("r 1 360", "r.mat 16+24 2E2/mV 12 0 0 0 0 a lead of words ", (360, 200, 0, "a lead of words")),
        ("r.1 1 360.5/60(2) 600 ", "r.mat  16+24\t200/mV  16 0 0 0 0  V1  ", (360.5, 200, 0, "V1")),
    ],
)
@pytest.mark.parametrize("form", ["{}\n{}\n", "\ufeff{}\r\n{}\r\n# Age: 63\r\n", "# before\n{}\n\n#between\n{}"])
def test_headers_as_they_are_published_are_read(tmp_path, first, line, expected, form):
    path = written(tmp_path, "r", form.format(first, line), COUNTS[:, 0], "mat", 24)
    record = RecordFile.open(path)
    fs_hz, gain, baseline, name = expected
    assert record.leads == [name] and record.fs_hz(0) == fs_hz
    assert np.array_equal(record.signals_mv([0])[0], (COUNTS[:, 0] - baseline) / gain)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
@pytest.mark.parametrize("micro", ["\u00b5", "\u03bc"])
def test_microvolts_are_no_volts(tmp_path, encoding, micro):
    if micro == "\u03bc" and encoding == "latin-1":
        pytest.skip("a letter that Latin-1 does not have")
    header = f"r 1 250 600\nr.dat 16 0.5/{micro}V 16 0 0 0 0 II\n".encode(encoding)
    (signal_mv,) = RecordFile.open(written(tmp_path, "r", header, COUNTS[:, 0])).signals_mv(["II"])
    np.testing.assert_allclose(signal_mv, COUNTS[:, 0] * 2e-3, rtol=1e-12)


def test_time_and_date_where_they_are_known(tmp_path):
    for first, time, date in (
        ("r 1 360 600 12:34:56.5 02/03/1990", datetime.time(12, 34, 56, 500_000), datetime.date(1990, 3, 2)),
        ("r 1 360 600 2014-05-08 05:05:15", datetime.time(5, 5, 15), datetime.date(2014, 5, 8)),
        ("r 1 360 600 9:05", datetime.time(9, 5), None),
        ("r 1 360 600 2006", None, None),
        ("r 1 360 600 25:00:00 40/40/1990", None, None),
        ("r 1 360", None, None),
    ):
        header = read_header(written(tmp_path, "r", f"{first}\nr.dat 16\n# <age>: 63\n", COUNTS[:, 0]))
        assert (header.base_time, header.base_date, header.comments) == (time, date, ["<age>: 63"])


# Frames ----------------------------------------------------------------------------------------------------------


def test_every_signal_of_a_frame_has_its_own_rate(tmp_path):
    """As conversions from EDF have it: 200 Hz and 25 Hz in frames of a second."""
    counts = np.random.default_rng(1).integers(-900, 900, (90, 225))
    header = "r 2 1 90\nr.dat 16x200 200/mV 16 0 0 0 0 ECG\nr.dat 16x25 10/mV 16 0 0 0 0 RESP\n"
    record = RecordFile.open(written(tmp_path, "r", header, counts))
    ecg, resp = record.lead("ECG"), record.lead("RESP")
    assert (ecg.fs_hz, resp.fs_hz) == (200, 25)
    assert np.array_equal(ecg.signal_mv, counts[:, :200].ravel() / 200)
    assert np.array_equal(resp.signal_mv, counts[:, 200:].ravel() / 10)


@pytest.mark.parametrize(
    "options, frames_hz, expected",
    [({}, 1, [3, 7, 11]), ({"fs": 250}, 1, [0.012, 0.028, 0.044]), ({}, 10, [0.3, 0.7, 1.1])],
)
def test_annotations_are_in_frames_unless_they_state_a_resolution(tmp_path, options, frames_hz, expected):
    counts = np.random.default_rng(1).integers(-900, 900, (90, 200))
    header = f"r 1 {frames_hz} 90\nr.dat 16x200 200/mV 16 0 0 0 0 ECG\n"
    record = RecordFile.open(written(tmp_path, "r", header, counts))
    wfdb.wrann("r", "atr", np.array([3, 7, 11]), ["N"] * 3, write_dir=str(tmp_path), **options)
    lead = record.lead("ECG")
    found = record.beats("atr", lead, {"N": "N"})
    np.testing.assert_allclose(found.samples / lead.fs_hz, expected, atol=0.5 / lead.fs_hz)


@pytest.mark.parametrize("file_hz", [250, 250.5, 128, 1000])
def test_annotations_are_brought_to_the_rate_of_the_record(tmp_path, file_hz):
    record = RecordFile.open(written(tmp_path, "r", "r 1 360 600\nr.dat 16 200/mV 16 0 0 0 0 II\n", COUNTS[:, 0]))
    samples = np.array([10, 100, 101])
    wfdb.wrann("r", "qrs", samples, ["N"] * 3, fs=file_hz, write_dir=str(tmp_path))
    found = record.beats("qrs", record.lead("II"), {"N": "N"}).samples
    assert found.tolist() == [int(sample * 360 / file_hz + 0.5) for sample in samples]


def test_beats_after_the_end_are_left_out_and_counted(tmp_path):
    record = RecordFile.open(written(tmp_path, "r", "r 1 360 600\nr.dat 16 200/mV 16 0 0 0 0 II\n", COUNTS[:, 0]))
    for last, left_out in ((599, 0), (600, 1), (5000, 1)):
        wfdb.wrann("r", "atr", np.array([100, 300, last]), ["N"] * 3, write_dir=str(tmp_path))
        found = record.beats("atr", record.lead("II"), {"N": "N"})
        assert found.samples.tolist() == [100, 300, 599][: 3 - left_out] and found.left_out == left_out
    wfdb.wrann("r", "atr", np.array([100, 700, 800]), ["N"] * 3, write_dir=str(tmp_path))
    refused(lambda: record.beats("atr", record.lead("II"), {"N": "N"}), "r.atr", "2 of 3", "do not belong together")


# Segments --------------------------------------------------------------------------------------------------------


@pytest.fixture
def segmented(tmp_path) -> Path:
    """Two segments of 200 and 300 samples: the first has II and V1, the second V1 alone, in another gain."""
    two = "m_1 2 250 200\nm_1.dat 16 200/mV 16 0 0 0 0 II\nm_1.dat 16 100/mV 16 0 0 0 0 V1\n"
    written(tmp_path, "m_1", two, COUNTS[:200, :2])
    written(tmp_path, "m_2", "m_2 1 250 300\nm_2.dat 16 50/mV 16 0 0 0 0 V1\n", COUNTS[:300, 2])
    (tmp_path / "m_layout.hea").write_text("m_layout 2 250 0\n~ 0 200/mV 16 0 0 0 0 II\n~ 0 100/mV 16 0 0 0 0 V1\n")
    (tmp_path / "m.hea").write_text("m/4 2 250 600\nm_layout 0\nm_1 200\n~ 100\nm_2 300\n")
    return tmp_path / "m"


def test_segments_of_a_variable_layout_follow_one_another(segmented):
    record = RecordFile.open(segmented)
    second_mv, v1_mv = record.signals_mv(["II", "V1"])
    nothing = np.full(400, np.nan)
    assert np.array_equal(second_mv, np.concatenate([COUNTS[:200, 0] / 200, nothing]), equal_nan=True)
    expected = np.concatenate([COUNTS[:200, 1] / 100, nothing[:100], COUNTS[:300, 2] / 50])
    assert np.array_equal(v1_mv, expected, equal_nan=True)
    assert np.array_equal(v1_mv, wfdb.rdrecord(str(segmented)).p_signal[:, 1], equal_nan=True)
    assert record.files("atr") == ["m.hea", "m_layout.hea", "m_1.hea", "m_2.hea", "m_1.dat", "m_2.dat", "m.atr"]


def test_segments_of_a_fixed_layout_follow_one_another(segmented):
    segmented.with_suffix(".hea").write_text("m/4 1 250\nm_2 300\n~ 50\nm_2 300\nm_2 300\n")
    (signal_mv,) = RecordFile.open(segmented).signals_mv(["V1"])
    one = COUNTS[:300, 2] / 50
    assert np.array_equal(signal_mv, np.concatenate([one, np.full(50, np.nan), one, one]), equal_nan=True)


@pytest.mark.parametrize(
    "header, reason",
    [
        ("m/2 2 250 500\nm_1 200\nm_2 300\n", "no layout"),
        ("m/2 2 250 400\nm_layout 0\nm_1 200\n", "announces 400"),
        ("m/2 2 250 100\nm_layout 0\nm_1 100\n", "m_1 has 200 samples"),
        ("m/2 2 125 200\nm_layout 0\nm_1 200\n", "frames a second"),
        ("m/2 2 250 200\nm_layout 0\nm 200\n", "segments itself"),
        ("m/2 2 250 200\nm_layout 0\nm_9 200\n", "m_9"),
        ("m/2 2 250 200\nm_layout 0\n../m_1 200\n", "not of the format"),
        ("m/1 2 250 200\n~ 200\n", "gaps alone"),
        ("m/3 2 250 200\nm_layout 0\nm_1 200\n", "announces 3 segments"),
        ("m/2 1 250 2000000000\nm_2 300\n~ 1999999700\n", "more than"),
    ],
)
def test_segments_that_do_not_fit_are_refused(segmented, header, reason):
    segmented.with_suffix(".hea").write_text(header)
    refused(lambda: RecordFile.open(segmented), segmented.parent, reason)


def test_a_segment_that_is_a_link_out_of_the_folder_is_refused(segmented, tmp_path, tmp_path_factory):
    away = tmp_path_factory.mktemp("away")
    (tmp_path / "m_1.hea").rename(away / "m_1.hea")
    (tmp_path / "m_1.hea").symlink_to(away / "m_1.hea")
    refused(lambda: RecordFile.open(segmented), segmented, "leads out")
