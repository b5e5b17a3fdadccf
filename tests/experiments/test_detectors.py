"""The comparison of detectors: its counts against those of EC57's reference implementation, its committed results."""

import importlib
import json
import re

import numpy as np
import pytest

from config import DATA_DIR_VARIABLE, DS1, DS2
from deep_ecg.records.wfdb_files import Record, read_beats, read_record
from deep_ecg.scoring.ec57 import LEARNING_S, Marks, read_marks
from experiments import MEASURED
from experiments import detectors as benchmark
from experiments.__main__ import main
from tests.support.records import beat_times_s, spikes_mv

RESULTS = MEASURED / benchmark.REPORT


def of_mitdb(path) -> benchmark.Item:
    return benchmark.Item(read_record(path, "MLII"), read_marks(path, "atr", 360.0), LEARNING_S)


@pytest.mark.parametrize("record", ["101", "207"])
def test_the_counts_are_those_of_the_reference_implementation(mitdb, ec57_golden, record):
    """207 has flutter, in which no beat is scored."""
    part = (ec57_golden / "bxb_matrices.txt").read_text().split(f"comparison results for record {record}\n")[1]
    (found, annotated), (_, told) = re.findall(r"QRS (?:sens|pos).*\((\d+)/(\d+)\)", part)[:2]
    samples = read_marks(ec57_golden / record, "tst", 360.0).samples
    scored = benchmark.score_item(of_mitdb(mitdb / record), lambda *_: np.stack([samples, samples], axis=1))
    counts = (scored.tp, scored.tp + scored.fn, scored.tp + scored.fp)
    assert counts == (int(found), int(annotated), int(told))


def test_a_record_is_scored_by_its_annotations(mitdb):
    """A detector that says the annotations themselves, but for one beat less and one more."""
    reference = read_beats(mitdb / "119", "atr").samples
    scored_part = int((reference >= 300 * 360).sum())

    def detect(signal_mv, fs_hz):
        beats = np.insert(np.delete(reference, -5), len(reference) - 1, len(signal_mv) - 1)
        return np.stack([beats, beats + 36], axis=1)

    scored = benchmark.score_item(of_mitdb(mitdb / "119"), detect)
    assert (scored.tp, scored.fn, scored.fp) == (scored_part - 1, 1, 1)
    assert set(scored.delays_s) == {0.1} and set(scored.offsets_s) == {0.0}


def test_what_is_left_out_is_neither_right_nor_wrong():
    left_out = np.zeros(1000, bool)
    left_out[:500] = True
    item = benchmark.Item(Record("x", "I", 100.0, np.zeros(1000)), Marks([100, 600, 800], ["N"] * 3), 0.0, left_out)
    scored = benchmark.score_item(item, lambda *_: np.array([[300, 310], [605, 620], [900, 910]]))
    assert (scored.tp, scored.fn, scored.fp) == (1, 1, 1)
    np.testing.assert_allclose(scored.delays_s, [0.15, 0.1])


def test_a_stream_tells_the_last_beat_however_soon_the_record_ends():
    signal_mv = spikes_mv(beat_times_s(20), 20, 360)
    last = round(beat_times_s(20)[-1] * 360)
    beats = benchmark.streamed(signal_mv[: last + 18], 360.0)  # 0.05 s after it
    assert abs(int(beats[-1, 0]) - last) <= 10 and beats[-1, 1] == last + 17


def test_it_says_so_when_a_detector_is_absent(monkeypatch, capsys):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    assert list(benchmark.available_detectors()) == ["stream", "record", "XQRS", "GQRS"]


def test_it_says_so_when_databases_are_absent(mitdb, tmp_path, capsys):
    assert list(benchmark.tests_of(mitdb, tmp_path)) == ["DS1", "DS2"]
    assert "left out for want of their databases" in capsys.readouterr().out


def test_a_missing_database_is_one_line_and_status_2(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path / "nowhere"))
    assert main(["detectors", "--out", str(tmp_path / "out.json")]) == 2
    assert capsys.readouterr().err.startswith("error: data folder") and not (tmp_path / "out.json").exists()


def test_synthetic_records_are_refused(monkeypatch, synthetic_db, tmp_path, capsys):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(synthetic_db))
    assert main(["detectors", "--out", str(tmp_path / "out.json")]) == 2
    assert "SYNTHETIC" in capsys.readouterr().err and not (tmp_path / "out.json").exists()


def test_committed_results_are_whole():
    report = json.loads(RESULTS.read_text())
    assert report["data_source"] != "synthetic"
    for name, members in (("DS1", DS1), ("DS2", DS2)):
        for one in report["sets"][name].values():
            assert set(one["records"]) == set(members)
            for count in ("tp", "fn", "fp"):
                assert one[count] == sum(record[count] for record in one["records"].values())


@pytest.mark.parametrize("name", ["stream", "record"])
@pytest.mark.parametrize("record", ["119", "203"])
def test_committed_results_are_of_this_detector(mitdb, name, record):
    stored = json.loads(RESULTS.read_text())["sets"]["DS1"][name]["records"][record]
    scored = benchmark.score_item(of_mitdb(mitdb / record), benchmark.available_detectors()[name])
    assert stored == {"tp": scored.tp, "fn": scored.fn, "fp": scored.fp}
