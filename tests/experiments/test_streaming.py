"""The measurement of streams: its delays on cases worked by hand, its report on short signals, and wrong input."""

import numpy as np
import pytest
import torch

from config import DATA_DIR_VARIABLE, Config
from deep_ecg.labelling.stream import Beat
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.records.wfdb_files import Record, read_record
from experiments import streaming as benchmark
from experiments.__main__ import main


def test_delays_by_hand():
    """Late beats count in all, not in the others; samples become milliseconds by the rate of the record."""
    slow, fast = (Record("r", "MLII", fs_hz, np.zeros(0)) for fs_hz in (250.0, 500.0))
    proba = np.eye(5)[0]
    beats = [(slow, Beat(100, 0, proba, 130, False)), (fast, Beat(100, 0, proba, 160, False)),
             (fast, Beat(300, 0, proba, 1300, True))]  # fmt: skip
    found = benchmark.delays(beats)
    assert (found["beats"], found["late_beats"]) == (3, 1)
    assert found["all_ms"] == {"median": 120, "p99": pytest.approx(120 + 0.98 * 1880), "max": 2000}
    assert found["without_late_ms"] == {"median": 120, "p99": 120, "max": 120}


def test_report_of_short_signals(synthetic_db):
    records = [read_record(synthetic_db / name, "MLII") for name in ("100", "103")]
    threads = torch.get_num_threads()
    config = Config(mode="causal", preset="edge")
    classifiers = {"edge": load_classifier(config), "edge, int8": load_classifier(config, runtime="onnx")}
    report = benchmark.measure(classifiers, records, patients=3, patients_s=5.0)
    assert torch.get_num_threads() == threads
    assert report["signal_s"] == 120 and report["records"] == ["100", "103"]
    assert 100 < report["delay"]["beats"] < 250
    assert report["delay"]["without_late_ms"]["max"] <= 150
    assert all(value > 0 for one in report["networks"].values() for value in one["work_per_beat_ms"].values())
    header, _, torch_row, int8_row, *_ = benchmark.table(report)
    assert torch_row.startswith("| causal, edge | ") and int8_row.startswith("| causal, edge, int8 | ")
    assert " 3 patients, x real time " in header
    assert header.count("|") == torch_row.count("|") == int8_row.count("|")


def test_the_table_names_the_networks_that_reach_the_goal():
    """500 times real time, and no less."""
    times = {"median": 1.0, "p99": 2.0, "max": 3.0}
    delay = {"beats": 9, "late_beats": 1, "all_ms": times}
    speeds = {"work_per_beat_ms": times, "patients_times_real_time": 5.0, "patients_one_by_one_times_real_time": 4.0}
    networks = {name: {**speeds, "times_real_time": x} for name, x in (("a", 499), ("b", 500), ("c", 725))}
    report = {"delay": delay, "patients": 100, "networks": networks}
    assert benchmark.table(report)[-1] == "500 times real time and more: b; c."
    report["networks"] = {"a": networks["a"]}
    assert benchmark.table(report)[-1] == "500 times real time and more: none."


def test_a_synthetic_database_is_refused(synthetic_db, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(synthetic_db))
    assert main(["streaming", "--out", str(tmp_path / "out.json")]) == 2
    assert "SYNTHETIC" in capsys.readouterr().err and not list(tmp_path.iterdir())
