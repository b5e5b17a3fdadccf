"""The benchmark of speed runs the real command on a small SYNTHETIC database; its table says what the report does."""

import pytest

from config import DATA_DIR_VARIABLE
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.json_files import read_json
from experiments import speed


def run(seconds: float) -> dict:
    stages = {"beats": seconds / 4, "train": seconds / 2, "evaluate": seconds / 10}
    return {"wall_s": seconds, "scored_s": seconds - 1, "stages_s": stages, "accuracy": 0.96, "v_se": seconds / 100} | {
        "peak_rss_mb": 10 * seconds
    }


def test_the_table_by_hand():
    """Mean and sd of 90 and 100 s: 95.0 and 7.07 s."""
    runs, share = [run(90), run(100)], {"preset": "edge", "epoch_s": 2.0, "loading_s": 0.05}
    report = {"machine": "m, 2 cores", "quick": runs, "cold": runs, "cached": runs, "loading_share": [share]}
    lines = speed.table(report)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:5]]
    stages = ["23.8 ± 1.8", "47.5 ± 3.5", "9.5 ± 0.7", "96.0", "90.0", "1000 MB"]
    assert cells[0] == ["to a scored `edge` network", "94.0 ± 7.1", *stages]
    assert cells[1] == ["whole run, no cache", "95.0 ± 7.1", *stages]
    assert lines[-1].startswith("Mean ± sd of 2 runs, m, 2 cores.") and lines[-1].endswith("edge: 2.5 %.")


def test_the_quick_run_is_timed(synthetic_db, tmp_path, monkeypatch):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(synthetic_db))
    found = speed.timed(tmp_path, *speed.QUICK)
    assert 0 < found["scored_s"] < found["wall_s"] and 0 <= found["accuracy"] <= 1
    assert found["stages_s"]["total"] < found["wall_s"]
    report = read_json(tmp_path / "runs" / "timed" / "report.json")
    assert len(report["training"]["history"]) == len(report["validation"]) == 3  # epochs
    assert report["config"]["preset"] == "edge" and report["config"]["replays"] == 0


def test_a_run_that_fails_is_no_measurement(tmp_path, monkeypatch):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(DeepECGError, match="status 2"):
        speed.timed(tmp_path, *speed.QUICK)
