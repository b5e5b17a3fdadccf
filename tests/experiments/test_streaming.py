"""The measurement of streams: its delays on cases worked by hand, its report on short signals, and wrong input."""

import numpy as np
import pytest
import torch

from config import DATA_DIR_VARIABLE, Config
from deep_ecg.labelling.stream import Beat
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.networks.torch_network import save_checkpoint
from deep_ecg.records.database import Source
from deep_ecg.records.wfdb_files import Record, read_record
from deep_ecg.training.experiment import describe, hybrid_arguments
from experiments import streaming as benchmark
from model import HybridECGNet


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "random.pt"
    config = Config(mode="causal", preset="edge")
    arguments = hybrid_arguments(config)
    torch.manual_seed(1)
    source = Source("local", path.parent)
    save_checkpoint(path, HybridECGNet(**arguments), arguments, describe(config, source, 0))
    return load_classifier(config, path)


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


def test_report_of_short_signals(synthetic_db, classifier, monkeypatch):
    monkeypatch.setattr(benchmark, "PATIENTS", 3)
    monkeypatch.setattr(benchmark, "PATIENTS_S", 5.0)
    records = [read_record(synthetic_db / name, "MLII") for name in ("100", "103")]
    threads = torch.get_num_threads()
    int8 = load_classifier(Config(mode="causal", preset="edge"), runtime="onnx")
    report = benchmark.measure({"edge": classifier, "edge, int8": int8}, records)
    assert torch.get_num_threads() == threads
    assert report["signal_s"] == 120 and report["records"] == ["100", "103"]
    assert 100 < report["delay"]["beats"] < 250
    assert report["delay"]["without_late_ms"]["max"] <= 150
    assert all(value > 0 for one in report["networks"].values() for value in one["work_per_beat_ms"].values())
    header, _, torch_row, int8_row, *_ = benchmark.table(report)
    assert torch_row.startswith("| causal, edge | ") and int8_row.startswith("| causal, edge, int8 | ")
    assert header.count("|") == torch_row.count("|") == int8_row.count("|")


def test_the_table_names_the_networks_that_reach_the_goal():
    """500 times real time, and no less."""
    times = {"median": 1.0, "p99": 2.0, "max": 3.0}
    delay = {"beats": 9, "late_beats": 1, "all_ms": times}
    speeds = {"work_per_beat_ms": times, "patients_times_real_time": 5.0, "patients_one_by_one_times_real_time": 4.0}
    networks = {name: {**speeds, "times_real_time": x} for name, x in (("a", 499), ("b", 500), ("c", 725))}
    assert benchmark.table({"delay": delay, "networks": networks})[-1] == "500 times real time and more: b; c."
    networks = {"a": networks["a"]}
    assert benchmark.table({"delay": delay, "networks": networks})[-1] == "500 times real time and more: none."


def test_a_synthetic_database_is_refused(synthetic_db, classifier, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(synthetic_db))
    monkeypatch.setattr(benchmark, "load_classifier", lambda config, runtime: classifier)
    assert benchmark.main(["--out", str(tmp_path / "out.json")]) == 2
    assert "SYNTHETIC" in capsys.readouterr().err and not list(tmp_path.iterdir())
