"""The comparison of detectors: its counts against those of EC57's reference implementation, its committed results."""

import importlib
import json
import re

import numpy as np
import pytest

from config import DATA_DIR_VARIABLE, DS1, DS2
from deep_ecg.records.wfdb_files import read_beats
from deep_ecg.scoring.ec57 import read_marks
from experiments import MEASURED
from experiments import detectors as benchmark
from experiments.__main__ import main

RESULTS = MEASURED / benchmark.REPORT


@pytest.mark.parametrize("record", ["101", "207"])
def test_the_counts_are_those_of_the_reference_implementation(mitdb, ec57_golden, record):
    """207 has flutter, in which no beat is scored."""
    part = (ec57_golden / "bxb_matrices.txt").read_text().split(f"comparison results for record {record}\n")[1]
    (found, annotated), (_, told) = re.findall(r"QRS (?:sens|pos).*\((\d+)/(\d+)\)", part)[:2]
    samples = read_marks(ec57_golden / record, "tst", 360.0).samples
    scored = benchmark.score_record(mitdb / record, lambda signal_mv, fs_hz: np.stack([samples, samples], axis=1))
    counts = (scored.tp, scored.tp + scored.fn, scored.tp + scored.fp)
    assert counts == (int(found), int(annotated), int(told))


def test_a_record_is_scored_by_its_annotations(mitdb):
    """A detector that says the annotations themselves, but for one beat less and one more."""
    reference = read_beats(mitdb / "119", "atr").samples
    scored_part = int((reference >= 300 * 360).sum())

    def detect(signal_mv, fs_hz):
        beats = np.insert(np.delete(reference, -5), len(reference) - 1, len(signal_mv) - 1)
        return np.stack([beats, beats + 36], axis=1)

    scored = benchmark.score_record(mitdb / "119", detect)
    assert (scored.tp, scored.fn, scored.fp) == (scored_part - 1, 1, 1)
    assert set(scored.delays_s) == {0.1} and set(scored.offsets_s) == {0.0}


def test_it_says_so_when_sleepecg_is_absent(monkeypatch, capsys):
    def without_sleepecg(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", without_sleepecg)
    assert list(benchmark.available_detectors()) == ["RPeakDetector", "r_peaks", "XQRS"]
    assert "sleepecg is not installed" in capsys.readouterr().out


def test_a_missing_database_is_one_line_and_status_2(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path / "nowhere"))
    assert main(["detectors", "--out", str(tmp_path / "out.json")]) == 2
    assert capsys.readouterr().err.startswith("error: data folder") and not (tmp_path / "out.json").exists()


def test_synthetic_records_are_refused(monkeypatch, synthetic_db, tmp_path, capsys):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(synthetic_db))
    assert main(["detectors", "--out", str(tmp_path / "out.json")]) == 2
    assert "SYNTHETIC" in capsys.readouterr().err and not (tmp_path / "out.json").exists()


def test_committed_results_reach_the_goal():
    report = json.loads(RESULTS.read_text())
    assert report["data_source"] != "synthetic" and report["lead"] == "MLII"
    one = report["detectors"]["RPeakDetector"]
    assert set(one["records"]) == set(DS1 + DS2)
    assert one["all"]["se"] >= 99.6 and one["all"]["ppv"] >= 99.6
    assert one["delay_without_late_ms"]["max"] <= 150
    for name, members in (("DS1", DS1), ("DS2", DS2), ("all", DS1 + DS2)):
        for count in ("tp", "fn", "fp"):
            assert one[name][count] == sum(one["records"][record][count] for record in members)


@pytest.mark.parametrize("record", ["119", "203"])
def test_committed_results_are_of_this_detector(mitdb, record):
    stored = json.loads(RESULTS.read_text())["detectors"]["RPeakDetector"]["records"][record]
    scored = benchmark.score_record(mitdb / record, benchmark.streamed)
    assert stored == {"tp": scored.tp, "fn": scored.fn, "fp": scored.fp}
