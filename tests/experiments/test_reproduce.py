"""Tests of what is committed: results/, pretrained/, images/ and the README belong together."""

import re
from pathlib import Path

import pytest

from config import CLASSES, DS2, Config
from data_loader import load_beats
from deep_ecg.beats.inputs import FEATURES
from deep_ecg.networks.classifier import load_network
from deep_ecg.records.database import Source
from deep_ecg.scoring.measures import evaluate_beats
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.json_files import read_json, write_json
from deep_ecg.training.experiment import network_proba
from experiments.reproduce import (
    BLOCK,
    IMAGES,
    PRETRAINED,
    README,
    RESULTS,
    VARIANTS,
    aims_table,
    readme_blocks,
    render_readme,
    reproduce,
)

TEXT = README.read_text()
PROSE = BLOCK.sub("", TEXT)


def test_every_table_of_the_readme_is_what_the_results_say():
    assert render_readme(TEXT) == TEXT
    assert {match[1] for match in re.findall(r"<!-- ((\w+)): rebuilt", TEXT)} == set(readme_blocks())


def test_the_prose_of_the_readme_states_no_result():
    """Scores, sizes and times of results stand in the tables alone, so that they cannot go stale."""
    found = re.findall(r"\d[\d,.]*\s*(?:%|per cent|points|µs|ms\b|MB\b|KB\b|bytes)", PROSE)
    assert set(found) <= {"90 MB"}  # the size of the published database


def test_the_aims_stand_beside_what_is_reached():
    def report(accuracy, s_f1):
        f1 = {name: {"f1": {"mean": s_f1 if name == "S" else 0.5}} for name in "SVF"}
        without = {"232": {"per_class": {"S": {"f1": {"mean": s_f1 / 2}}}}}
        spread = {"accuracy": {"mean": accuracy}, "auc_micro": {"mean": 0.99}, "per_class": f1, "without": without}
        return {"over_seeds": spread}

    scores = [(0.97, 0.8), (0.9696, 0.812), (0.98, 0.7), (0.96, 0.8)]
    table = aims_table({variant: report(*pair) for variant, pair in zip(VARIANTS, scores)}).splitlines()
    assert VARIANTS[0] == ("diagnostic", "full")
    assert "| accuracy % | 98.0 | 97.0 | +0.0 | +1.0 | -1.0 |" in table
    assert "| S F1 % | 85.0 | 80.0 | +1.2 | -10.0 | +0.0 |" in table
    assert "| S F1 % without 232 | 60.0 | 40.0 | +0.6 | -5.0 | +0.0 |" in table


def test_every_picture_of_the_readme_is_committed():
    linked = re.findall(r"!\[[^]]*\]\((images/[\w.-]+)\)", TEXT)
    assert sorted(linked) == sorted(f"images/{path.name}" for path in IMAGES.glob("*.png"))
    assert len(linked) == 7


def test_the_two_commands_are_single_lines_that_set_everything_up():
    run, test = (line for line in TEXT.splitlines() if line.startswith("(python3 -m venv"))
    assert "requirements.txt" in run and run.endswith(".venv/bin/python main.py")
    assert "requirements-dev.txt" in test and test.endswith("-m pytest")


@pytest.mark.parametrize(("mode", "preset"), VARIANTS)
def test_committed_results_are_real_and_complete(mode, preset):
    report = read_json(RESULTS / f"{mode}-{preset}.json")
    assert (report["mode"], report["preset"], report["data_source"]) == (mode, preset, "local")
    assert report["kept_beats"] == {"ds1": 51021, "ds2": 49712}  # every beat of the published counts
    counts = {name: report["ds2"]["per_class"][name]["n"] for name in CLASSES}
    assert counts == {"N": 44259, "S": 1837, "V": 3221, "F": 388, "Q": 7}
    assert report["over_seeds"]["n"] >= 3


def test_pretrained_files_fit_the_repository():
    assert {path.name for path in PRETRAINED.iterdir()} == {
        f"{mode}-{preset}.{ending}" for mode, preset in VARIANTS for ending in ("pt", "onnx")
    }
    assert sum(path.stat().st_size for path in PRETRAINED.iterdir()) <= 8_000_000


@pytest.mark.parametrize(("mode", "preset"), VARIANTS)
def test_a_pretrained_network_scores_what_its_report_says(mode, preset, mitdb, tmp_path_factory):
    model, description = load_network(Config(mode=mode, preset=preset))
    cache = tmp_path_factory.getbasetemp() / "cache-of-ds2"
    ds2 = load_beats(Source("local", mitdb), DS2, Config(mode=mode, preset=preset, cache_dir=str(cache)))
    assert ds2.features.shape[1] == len(FEATURES[mode])
    scores = evaluate_beats(ds2.labels, network_proba(model, description.decision, ds2), ds2.records)
    reported = read_json(RESULTS / f"{mode}-{preset}.json")["ds2"]
    assert scores["accuracy"] == pytest.approx(reported["accuracy"], abs=1e-4)  # other processors round otherwise
    for name in "NSV":
        assert scores["per_class"][name]["f1"] == pytest.approx(reported["per_class"][name]["f1"], abs=2e-3)


def test_reproduce_refuses_synthetic_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in (*RESULTS.iterdir(), *PRETRAINED.iterdir(), README)}
    with pytest.raises(DeepECGError, match="synthetic"):
        reproduce(lambda config, name: {"data_source": "synthetic", "seed": 0})
    assert all(Path(path).read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize(
    ("name", "file", "row", "command"),
    [
        ("ABLATION", "ablation-diagnostic-edge.json", ("rows", 0, "scores"), "crossvalidation.py .*--ablation"),
        ("LOOK_AHEAD", "look_ahead.json", ("causal", "150"), "benchmarks/look_ahead.py"),
    ],
)
def test_a_report_of_other_columns_is_refused_before_any_training(name, file, row, command, tmp_path, monkeypatch):
    report = read_json(RESULTS / file)
    scores = report
    for key in row:
        scores = scores[key]
    del scores["s_f1_noise"]
    older = tmp_path / file
    write_json(older, report)
    monkeypatch.setattr(f"reproduce.{name}", older)
    for attempt in (readme_blocks, lambda: reproduce(lambda config, name: pytest.fail("it has begun to train"))):
        with pytest.raises(DeepECGError, match=f"{file} has other columns .* `python {command}"):
            attempt()
