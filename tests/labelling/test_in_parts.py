"""A long record is read in parts: its results are those of the record read at once, to the byte."""

import re
from contextlib import suppress

import numpy as np
import pytest
import wfdb

from config import Config
from deep_ecg.beats import inputs
from deep_ecg.labelling import annotations, predict, table
from deep_ecg.labelling.labelled import Labelled
from deep_ecg.records import any_record, long_signal, wfdb_files
from deep_ecg.records.any_record import Record
from deep_ecg.records.long_signal import LongSignal
from deep_ecg.report.beat_series import RhythmEpisode
from deep_ecg.system import progress, work
from deep_ecg.system.errors import DeepECGError
from tests.support.records import beat_times_s, motion_mv, spikes_mv

FS_HZ, LENGTH_S = 250, 150
NOISE, LOST, SILENT = (slice(first * FS_HZ, last * FS_HZ) for first, last in ((40, 55), (70, 78), (100, 112)))


@pytest.fixture
def record(tmp_path) -> str:
    """Two leads, the first of which cannot be read for a while, both without beats for a while, and with a gap."""
    times_s = beat_times_s(LENGTH_S)
    silent = (times_s > SILENT.start / FS_HZ) & (times_s < SILENT.stop / FS_HZ)
    leads_mv = np.stack([spikes_mv(times_s[~silent], LENGTH_S, FS_HZ, height_mv) for height_mv in (1.0, 0.7)], axis=1)
    leads_mv[NOISE, 0] += motion_mv(NOISE.stop - NOISE.start, FS_HZ)
    leads_mv[LOST] = np.nan
    wfdb.wrsamp("r", FS_HZ, ["mV"] * 2, ["MLII", "V1"], p_signal=leads_mv, fmt=["16"] * 2, write_dir=str(tmp_path))
    return str(tmp_path / "r")


@pytest.mark.parametrize("mode", ["diagnostic", "causal"])
def test_results_are_those_of_the_record_read_at_once(record, tmp_path, monkeypatch, capsys, mode):
    config = Config(mode=mode, preset="edge")
    predict.predict_records([record], config, tmp_path / "whole")
    monkeypatch.setattr(wfdb_files, "HELD_SAMPLES", 10_000)
    for module in (long_signal, any_record):
        monkeypatch.setattr(module, "READ_SAMPLES", 7_001)
    monkeypatch.setattr(LongSignal, "__array__", lambda self, *_: pytest.fail("all of the signal was asked for"))
    for module in (annotations, table):
        monkeypatch.setattr(module, "BLOCK_BEATS", 50)
    monkeypatch.setattr(inputs, "PIECE_SAMPLES", 7_001)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    [summary] = predict.predict_records([record], config, tmp_path / "parts")
    assert summary["taken_over"] and summary["silent"] and summary["unread"]
    lines = capsys.readouterr().err.splitlines()
    for title in ("lead MLII: R-peaks", "lead V1: R-peaks", "lead MLII: labels", "lead V1: labels"):
        assert any(re.fullmatch(f" +r, {title}: 0.0 of 0.0 h, 0:00:.. left", line) for line in lines), title
    names = [file.name for file in sorted((tmp_path / "whole").iterdir())]
    assert len(names) == 6 and names == [file.name for file in sorted((tmp_path / "parts").iterdir())]
    for name in names:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize("beats_at_once", [1, 2, 3, 9])
def test_annotations_of_blocks_of_beats_are_one_file(tmp_path, monkeypatch, beats_at_once):
    """Seven beats, of which the third to the fifth fibrillate; marks stand before their beats."""
    monkeypatch.setattr(annotations, "BLOCK_BEATS", beats_at_once)
    samples, proba = 1000 * np.arange(1, 8), np.eye(5)[[0, 0, 2, 0, 1, 0, 4]]
    record = Record("r", "MLII", 250.0, np.zeros(8000))
    rhythm = [RhythmEpisode(3000, 5000, "atrial fibrillation or flutter")]
    annotations.write_annotations(tmp_path / "r.pred", Labelled(record, samples, proba, None, True, rhythm=rhythm))
    found = wfdb.rdann(str(tmp_path / "r"), "pred")
    assert found.fs == 250 and "".join(found.symbol) == "+NN+VN+SNQ"
    assert found.sample.tolist() == [1000, 1000, 2000, 3000, 3000, 4000, 5000, 5000, 6000, 7000]
    assert [note.strip("\0") for note in found.aux_note if note] == ["(N", "(AFIB", "(N"]
    assert (tmp_path / "r.pred").read_bytes().count(b"SYNTHETIC") == 1


@pytest.mark.parametrize("mode", ["diagnostic", "causal"])
@pytest.mark.parametrize("peaks", [None, "qrs"])
def test_a_run_that_is_broken_off_again_and_again_ends_with_the_results_of_one(
    record, tmp_path, monkeypatch, capsys, mode, peaks
):
    """Each run is stopped after some steps and the next one does what is left: none is done twice."""
    beats = (1 + np.round(FS_HZ * beat_times_s(LENGTH_S))).astype(int)
    wfdb.wrann("r", "qrs", beats, ["N"] * len(beats), write_dir=str(tmp_path))
    config = Config(mode=mode, preset="edge")
    for module, name, value in ((work, "EVERY_S", 0.0), (work, "PAUSE", 0), (inputs, "PIECE_SAMPLES", 7_001)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(inputs, "BLOCK_BEATS", 8)
    kept, steps = work.KeptWork._keep, []

    def counted(self, stage):
        kept(self, stage)
        steps.append(type(stage).__name__)
        if len(steps) % every == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(work.KeptWork, "_keep", counted)
    every = 10**6
    predict.predict_records([record], config, tmp_path / "once", peaks)
    expected, every, runs = steps.copy(), 7, 0
    steps.clear()
    while not (tmp_path / "often" / "r.json").exists():
        with suppress(KeyboardInterrupt):
            predict.predict_records([record], config, tmp_path / "often", peaks)
        runs += 1
    assert steps == expected and runs == len(expected) // 7 + 1 >= 4
    assert capsys.readouterr().err.count("going on with what an earlier run has kept") == runs - 1
    names = [file.name for file in sorted((tmp_path / "once").iterdir())]
    assert names == [file.name for file in sorted((tmp_path / "often").iterdir())]
    for name in names:
        assert (tmp_path / "often" / name).read_bytes() == (tmp_path / "once" / name).read_bytes(), name


@pytest.mark.parametrize("change", ["lead", "record", "peaks"])
def test_what_was_kept_of_another_record_or_setting_is_not_taken_up(record, tmp_path, monkeypatch, capsys, change):
    monkeypatch.setattr(work, "EVERY_S", 0.0)
    kept = work.KeptWork._keep

    def stopped(self, stage):
        kept(self, stage)
        raise KeyboardInterrupt

    config, out, options = Config(mode="causal", preset="edge"), tmp_path / "out", {}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(work.KeptWork, "_keep", stopped)
        predict.predict_records([record], config, out)
    assert [file.name for file in out.iterdir()] == ["r.unfinished"]
    if change == "lead":
        options["lead"] = "V1"
    elif change == "peaks":
        wfdb.wrann("r", "qrs", np.arange(1, 100) * FS_HZ, ["N"] * 99, write_dir=str(tmp_path))
        options["peaks"] = "qrs"
    else:
        data = tmp_path / "r.dat"
        data.write_bytes(bytes(len(data.read_bytes())))
        with pytest.raises(DeepECGError):
            predict.predict_records([record], config, out)
        assert not list(out.iterdir())
        return
    predict.predict_records([record], config, out, **options)
    predict.predict_records([record], config, tmp_path / "fresh", **options)
    assert "going on" not in capsys.readouterr().err
    assert (out / "r.csv").read_bytes() == (tmp_path / "fresh" / "r.csv").read_bytes()
    assert not (out / "r.unfinished").exists()
