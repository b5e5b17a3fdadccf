"""What is committed: results/ and pretrained/ belong together, and are made anew from the real database alone."""

import shutil
from pathlib import Path

import pytest

from config import CLASSES, DATA_DIR_VARIABLE, DS2, Config
from data_loader import load_beats
from deep_ecg.beats.inputs import FEATURES
from deep_ecg.networks.classifier import PRETRAINED, load_network
from deep_ecg.records.database import Source
from deep_ecg.scoring.measures import evaluate_beats
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.json_files import read_json, write_json
from deep_ecg.training.experiment import network_proba
from experiments import RESULTS, ROOT, reproduce
from experiments.tables import VARIANTS, all_tables

NETWORKS, OPEN = RESULTS / "networks", RESULTS / "open"


@pytest.mark.parametrize(("mode", "preset"), VARIANTS)
def test_committed_results_are_real_and_complete(mode, preset):
    report = read_json(NETWORKS / f"{mode}-{preset}.json")
    assert (report["mode"], report["preset"], report["data_source"]) == (mode, preset, "local")
    assert report["kept_beats"] == {"ds1": 51021, "ds2": 49712}  # every beat of the published counts
    counts = {name: report["ds2"]["per_class"][name]["n"] for name in CLASSES}
    assert counts == {"N": 44259, "S": 1837, "V": 3221, "F": 388, "Q": 7}
    assert report["over_seeds"]["n"] >= 3 and report["config"].get("databases", ["mitdb"]) == ["mitdb"]


@pytest.mark.parametrize(("mode", "preset"), VARIANTS)
def test_committed_results_of_the_open_protocol_say_what_they_learned_from(mode, preset):
    report = read_json(OPEN / f"{mode}-{preset}.json")
    assert (report["mode"], report["preset"], report["data_source"]) == (mode, preset, "local")
    assert tuple(report["config"]["databases"]) == reproduce.OPEN
    assert report["kept_beats"] == {"ds1": 51021, "ds2": 49712} and report["over_seeds"]["n"] >= 3
    assert report["held_out"]["svdb"]["n"] == 40291 and set(report["held_out"]["cinc2017"]) == {"N", "A"}


def test_results_are_laid_out_by_what_makes_them():
    names = [f"{mode}-{preset}" for mode, preset in VARIANTS]
    assert {path.name for path in RESULTS.iterdir()} == {"networks", "open", "int8", "measured"}
    networks = {f"{name}.{ending}" for name in names for ending in ("json", "md")} | {"transformer.json"}
    assert {path.name for path in NETWORKS.iterdir()} == networks
    assert {path.name for path in OPEN.iterdir()} == networks - {"transformer.json"}
    assert {path.name for path in (RESULTS / "int8").iterdir()} == {f"quantization-{name}.json" for name in names}


def test_pretrained_files_fit_the_repository():
    assert {path.name for path in PRETRAINED.iterdir()} == {
        f"{mode}-{preset}{ending}" for mode, preset in VARIANTS for ending in (".pt", ".onnx", "-fp32.onnx")
    } | {"trained_on.json", "rhythm.json"}
    assert sum(path.stat().st_size for path in PRETRAINED.iterdir()) <= 14_000_000


@pytest.mark.parametrize(("mode", "preset"), VARIANTS)
def test_a_pretrained_network_scores_what_its_report_says(mode, preset, mitdb, tmp_path_factory):
    model, description = load_network(Config(mode=mode, preset=preset))
    cache = tmp_path_factory.getbasetemp() / "cache-of-ds2"
    ds2 = load_beats(Source("local", mitdb), DS2, Config(mode=mode, preset=preset, cache_dir=str(cache)))
    assert ds2.features.shape[1] == len(FEATURES[mode])
    scores = evaluate_beats(ds2.labels, network_proba(model, description.decision, ds2), ds2.records)
    reported = read_json(OPEN / f"{mode}-{preset}.json")["ds2"]
    assert scores["accuracy"] == pytest.approx(reported["accuracy"], abs=1e-4)  # other processors round otherwise
    for name in "NSV":
        assert scores["per_class"][name]["f1"] == pytest.approx(reported["per_class"][name]["f1"], abs=2e-3)


# Made anew -----------------------------------------------------------------------------------------------------------


def begun(mode: str, preset: str):
    pytest.fail("it has begun to train")


def test_synthetic_results_never_replace_real_ones(synthetic_db, monkeypatch, tmp_path):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(synthetic_db))
    monkeypatch.chdir(tmp_path)
    committed = [*RESULTS.rglob("*.*"), *PRETRAINED.iterdir(), ROOT / "README.md"]
    before = {path: path.read_bytes() for path in committed}
    with pytest.raises(DeepECGError, match="synthetic"):
        reproduce.reproduce(ROOT, begun)
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize(
    ("file", "row", "command"),
    [
        ("ablation-diagnostic-edge.json", ("rows", 0, "scores"), "crossvalidation .*--ablation"),
        ("look_ahead.json", ("causal", "150"), "look-ahead"),
    ],
)
def test_a_report_of_other_columns_is_refused_before_any_training(file, row, command, tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results")
    path = tmp_path / "results" / "measured" / file
    report = read_json(path)
    scores = report
    for key in row:
        scores = scores[key]
    del scores["s_f1_noise"]
    write_json(path, report)
    for attempt in (lambda: all_tables(tmp_path / "results"), lambda: reproduce.reproduce(tmp_path, begun)):
        with pytest.raises(DeepECGError, match=f"{file} has other columns .* `python -m experiments {command}"):
            attempt()


def test_each_network_is_trained_by_main_as_a_user_runs_it(monkeypatch):
    run = []
    monkeypatch.setattr(reproduce, "run_python", lambda *arguments: run.append(arguments))
    reproduce.train("causal", "edge")
    [(name, program, *options)] = run
    assert (name, program) == ("main.py", str(ROOT / "main.py"))
    expected = "--mode causal --preset edge --seeds 0 1 2 3 4 --data-source local --name reproduce/causal-edge"
    assert options == expected.split()
    assert Path("runs/reproduce") == reproduce.BASE
    reproduce.train_open("causal", "edge")
    expected = "--mode causal --preset edge --seeds 0 1 2 3 4 --data-source local --name reproduce/open-causal-edge"
    assert list(run[1][2:]) == [*expected.split(), "--databases", "mitdb", "svdb", "cinc2017"]


def test_what_main_refuses_ends_it(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path / "absent"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeepECGError, match="main.py ended with status 2"):
        reproduce.train("diagnostic", "edge")
    assert "absent" in capfd.readouterr().err


def test_a_network_is_kept_with_the_weights_of_the_seed_that_its_report_shows(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "runs" / "reproduce" / "open-causal-edge"
    write_json(made / "report.json", {"seed": 3, "data_folder": "/home/someone/mitdb", "figures": ["images/x.png"]})
    for seed in (0, 3):
        (made / f"seed-{seed}").mkdir()
        (made / f"seed-{seed}" / "checkpoint.pt").write_bytes(bytes([seed]))
    reproduce.keep_network("causal", "edge", tmp_path / "committed")
    kept = {path.relative_to(tmp_path / "committed").as_posix() for path in (tmp_path / "committed").rglob("*.*")}
    assert kept == {"results/open/causal-edge.json", "results/open/causal-edge.md", "pretrained/causal-edge.pt"}
    assert (tmp_path / "committed" / "pretrained" / "causal-edge.pt").read_bytes() == b"\x03"
    for ending in ("json", "md"):  # nothing of the machine, no pictures that are not there
        said = (tmp_path / "committed" / "results" / "open" / f"causal-edge.{ending}").read_text(encoding="utf-8")
        assert "someone" not in said and "x.png" not in said
