"""Scores against hand-worked matrices and published counts; report files."""

import json

import numpy as np
import pytest

from config import CLASSES
from deep_ecg.scoring import measures, report, seeds
from deep_ecg.system import json_files
from deep_ecg.system.errors import DeepECGError

DS2_COUNTS = (44259, 1837, 3221, 388, 7)  # published counts of the de Chazal DS2 beats, e and j as N

# Worked by hand: N 100 reference beats, 95 predicted; S 10, 12; V 10, 11; F 0, 2; Q 0, 0.
WORKED = np.array(
    [
        [90, 5, 3, 2, 0],
        [4, 6, 0, 0, 0],
        [1, 1, 8, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
)


def beats_of(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and one-hot probabilities whose confusion matrix is `matrix`."""
    rows, columns = np.nonzero(matrix)
    counts = matrix[rows, columns]
    return np.repeat(rows, counts), np.eye(5)[np.repeat(columns, counts)]


def seed_report(seed: int, s_f1: float | None, v_f1: float = 0.9, accuracy: float = 0.9) -> dict:
    per_class = {name: {"n": 10, "se": 0.5, "ppv": 0.5, "f1": 0.5} for name in CLASSES}
    per_class["S"]["f1"], per_class["V"]["f1"] = s_f1, v_f1
    scores = {"n": 50, "accuracy": accuracy, "per_class": per_class}
    parts = {"before": {"ece": accuracy / 9}, "after": {"ece": 0.01}, "risk_coverage": {"all": {"aurc": 0.002}}}
    return {"seed": seed, "ds2": {**scores, "auc_micro": 0.99, "without": {"232": scores}, "confidence": parts}}


def full_report(data_source: str = "local") -> dict:
    labels, proba = beats_of(WORKED)
    ds2 = measures.evaluate_beats(labels, proba, np.where(np.arange(120) % 2, "100", "232"), bootstrap=20)
    history = {"epoch": 1, "train_loss": 0.5, "val_loss": 0.4, "val_accuracy": 0.9, "val_s_f1": None, "val_v_f1": 0.8}
    report = {
        "data_source": data_source,
        "mode": "causal",
        "preset": "edge",
        "seed": 3,
        "seeds": [3],
        "versions": {"python": "3.11", "numpy": "2.4"},
        "threads": 2,
        "config": {"mode": "causal", "band_hz": [0.5, 50.0]},
        "parameters": 8123,
        "kept_beats": {"ds1": 51021, "ds2": 49712},
        "training": {"seconds": 12.0, "history": [{"epoch": 1, "train_loss": 0.25}]},
        "validation": [history],
        "ds2": ds2,
        "baselines": {
            "majority": measures.majority_baseline(labels, labels, np.full(120, "100")),
            "prematurity": measures.prematurity_baseline(
                np.ones(120), labels, np.ones(120), labels, np.full(120, "100")
            ),
        },
        "int8": {"fp32_bytes": 40000, "int8_bytes": 14000, "ratio": 2.857, "accuracy_change": -0.001},
        "timings_s": {"ingest": 1.5, "total": 30.0},
        "peak_rss_mb": 800.0,
    }
    report["over_seeds"] = seeds.over_seeds([report])
    return report


def test_confusion_has_reference_rows_and_predicted_columns():
    matrix = measures.confusion(np.array([0, 0, 1, 2]), np.array([0, 2, 1, 2]))
    assert matrix.shape == (5, 5) and matrix.sum() == 4
    assert (matrix[0, 0], matrix[0, 2], matrix[1, 1], matrix[2, 2]) == (1, 1, 1, 1)
    assert measures.confusion(np.array([]), np.array([])).tolist() == np.zeros((5, 5), int).tolist()


def test_class_metrics_of_the_worked_matrix():
    metrics = measures.class_metrics(WORKED)
    assert metrics["N"] == pytest.approx({"n": 100, "se": 0.9, "ppv": 90 / 95, "f1": 180 / 195})
    assert metrics["S"] == pytest.approx({"n": 10, "se": 0.6, "ppv": 0.5, "f1": 12 / 22})
    assert metrics["V"] == pytest.approx({"n": 10, "se": 0.8, "ppv": 8 / 11, "f1": 16 / 21})
    assert metrics["F"] == {"n": 0, "se": None, "ppv": 0.0, "f1": 0.0}
    assert metrics["Q"] == {"n": 0, "se": None, "ppv": None, "f1": None}


def test_always_n_on_ds2_reaches_the_published_89_percent():
    labels = np.repeat(np.arange(5), DS2_COUNTS)
    proba = np.tile([0.9, 0.1, 0.0, 0.0, 0.0], (len(labels), 1))
    scores = measures.evaluate_beats(labels, proba, np.full(len(labels), "100"), bootstrap=0)
    assert scores["n"] == 49712
    assert scores["accuracy"] == pytest.approx(0.8903, abs=5e-5)
    assert scores["per_class"]["N"]["se"] == 1.0
    assert scores["per_class"]["S"] == {"n": 1837, "se": 0.0, "ppv": None, "f1": 0.0}
    assert scores["auc"]["S"] == pytest.approx(0.5)  # a constant score ranks nothing


def test_auc_is_the_rank_statistic():
    # S scores: positives 0.9, 0.4; negatives 0.5, 0.4, 0.1. Of 6 pairs 4 are won and 1 is tied: 4.5 / 6.
    s_score = np.array([0.9, 0.4, 0.5, 0.4, 0.1])
    proba = np.zeros((5, 5))
    proba[:, 1], proba[:, 0] = s_score, 1 - s_score
    scores = measures.evaluate_beats(np.array([1, 1, 0, 0, 0]), proba, np.full(5, "100"))
    assert scores["auc"]["S"] == pytest.approx(0.75)
    assert scores["auc"]["V"] is None and scores["auc"]["Q"] is None


def test_micro_auc_ranks_all_class_scores_together():
    # Positives 0.6, 0.3; negatives 0.4, 0.7 and six zeros: 7 + 6 of 16 pairs are won.
    proba = np.array([[0.6, 0.4, 0, 0, 0], [0.7, 0.3, 0, 0, 0]])
    scores = measures.evaluate_beats(np.array([0, 1]), proba, np.array(["100", "103"]))
    assert scores["auc_micro"] == pytest.approx(13 / 16)


def test_per_record_lists_only_classes_present_or_predicted():
    proba = np.eye(5)[[0, 2, 1]]
    scores = measures.evaluate_beats(np.array([0, 0, 1]), proba, np.array(["100", "100", "222"]), bootstrap=0)
    assert scores["per_record"]["100"]["accuracy"] == 0.5
    assert list(scores["per_record"]["100"]["per_class"]) == ["N", "V"]
    assert scores["per_record"]["100"]["per_class"]["V"] == {"n": 0, "se": None, "ppv": 0.0, "f1": 0.0}
    assert list(scores["per_record"]["222"]["per_class"]) == ["S"]


def test_without_leaves_out_each_record_and_both():
    records = np.array(["202", "232", "100", "100"])
    proba = np.eye(5)[[1, 0, 0, 2]]  # right only in the first beat of 100 and in 232
    scores = measures.evaluate_beats(np.array([0, 0, 0, 0]), proba, records, bootstrap=0)
    assert scores["accuracy"] == 0.5
    assert {name: part["accuracy"] for name, part in scores["without"].items()} == {
        "202": pytest.approx(2 / 3),
        "232": pytest.approx(1 / 3),
        "202+232": 0.5,
    }
    assert scores["without"]["202+232"]["n"] == 2
    absent = measures.evaluate_beats(np.array([0]), np.eye(5)[[0]], np.array(["100"]))
    assert absent["without"] == {}


def test_bootstrap_of_identical_records_collapses_to_the_point():
    labels, proba = beats_of(WORKED)
    records = np.repeat([f"r{i}" for i in range(6)], len(labels))
    scores = measures.evaluate_beats(np.tile(labels, 6), np.tile(proba, (6, 1)), records, bootstrap=200)
    assert scores["ci95"]["accuracy"] == pytest.approx([104 / 120, 104 / 120])
    assert scores["ci95"]["S_f1"] == pytest.approx([12 / 22, 12 / 22])
    assert scores["ci95"]["Q_f1"] is None


def test_bootstrap_of_two_records_spans_both():
    # Either record is drawn twice with probability 1/4, so both ends of the interval are the records' own scores.
    labels = np.full(2000, 2)
    predicted = np.where(np.arange(2000) < 1000, 2, np.arange(2000) % 2 * 2)  # record a all right, b half right
    records = np.repeat(["a", "b"], 1000)
    scores = measures.evaluate_beats(labels, np.eye(5)[predicted], records)
    assert scores["ci95"]["accuracy"] == pytest.approx([0.5, 1.0])
    assert scores["ci95"]["V_se"] == pytest.approx([0.5, 1.0])
    assert scores["ci95"]["V_ppv"] == pytest.approx([1.0, 1.0])


def test_bootstrap_needs_two_records_and_repeats_with_its_seed():
    labels, proba = beats_of(WORKED)
    assert measures.evaluate_beats(labels, proba, np.full(120, "100"))["ci95"] == {}
    records = np.arange(120) % 7
    runs = [measures.evaluate_beats(labels, proba, records, seed=5)["ci95"] for _ in range(2)]
    assert runs[0] == runs[1]


def test_evaluate_beats_refuses_what_it_cannot_score():
    with pytest.raises(ValueError, match="shapes"):
        measures.evaluate_beats(np.array([0]), np.ones((1, 4)), np.array(["100"]))
    with pytest.raises(DeepECGError, match="no beat"):
        measures.evaluate_beats(np.array([], int), np.ones((0, 5)), np.array([], str))
    with pytest.raises(DeepECGError, match="not finite"):
        measures.evaluate_beats(np.array([0]), np.full((1, 5), np.nan), np.array(["100"]))


def test_majority_baseline_takes_the_class_from_training():
    baseline = measures.majority_baseline(np.array([2, 2, 0]), np.array([0, 0, 2]), np.array(["100", "100", "232"]))
    assert baseline["accuracy"] == pytest.approx(1 / 3)
    assert baseline["confusion"][0][2] == 2 and baseline["confusion"][2][2] == 1
    assert baseline["without"]["232"]["accuracy"] == 0.0


def test_prematurity_threshold_comes_from_training_only():
    train_ratio = np.array([0.60, 0.70, 0.75, 1.0, 1.1])
    train_labels = np.array([1, 1, 0, 0, 0])
    # 0.71 to 0.75 separate the training beats; the lowest is taken, although 0.95 would be best on the test beats.
    ratio, labels = np.array([0.65, 0.72, 0.94, 1.0, np.nan]), np.array([1, 1, 1, 0, 0])
    baseline = measures.prematurity_baseline(train_ratio, train_labels, ratio, labels, np.full(5, "100"))
    assert baseline["threshold"] == 0.71
    assert baseline["per_class"]["S"] == pytest.approx({"n": 3, "se": 1 / 3, "ppv": 1.0, "f1": 0.5})
    assert baseline["accuracy"] == pytest.approx(3 / 5)


def test_prematurity_without_training_s_beats_still_answers():
    baseline = measures.prematurity_baseline(np.ones(3), np.zeros(3, int), np.ones(2), np.zeros(2, int), ["a", "a"])
    assert 0.5 <= baseline["threshold"] <= 1.0 and baseline["accuracy"] == 1.0


def test_over_seeds_mean_and_sample_sd():
    # 0.4, 0.6, 0.8: mean 0.6, squared deviations 0.04 + 0 + 0.04 over 2, sd 0.2.
    reports = [seed_report(seed, s_f1) for seed, s_f1 in ((0, 0.4), (1, 0.6), (5, 0.8))]
    spread = seeds.over_seeds(reports)
    assert spread["n"] == 3 and spread["seeds"] == [0, 1, 5]
    assert spread["per_class"]["S"]["f1"] == pytest.approx({"mean": 0.6, "sd": 0.2, "n": 3})
    assert spread["without"]["232"]["per_class"]["S"]["f1"] == pytest.approx({"mean": 0.6, "sd": 0.2, "n": 3})
    assert spread["accuracy"] == pytest.approx({"mean": 0.9, "sd": 0.0, "n": 3})
    assert spread["confidence"]["ece_before"] == pytest.approx({"mean": 0.1, "sd": 0.0, "n": 3})
    assert spread["confidence"]["aurc"]["mean"] == pytest.approx(0.002)


def test_over_seeds_leaves_out_none_and_has_no_sd_for_one_seed():
    spread = seeds.over_seeds([seed_report(0, None), seed_report(1, 0.7)])
    assert spread["per_class"]["S"]["f1"] == {"mean": 0.7, "sd": None, "n": 1}
    spread = seeds.over_seeds([seed_report(0, None)])
    assert spread["per_class"]["S"]["f1"] == {"mean": None, "sd": None, "n": 0}
    assert spread["accuracy"]["sd"] is None


@pytest.mark.parametrize(
    ("s_f1", "expected"),
    [([0.9, 0.1, 0.5], 2), ([0.7, 0.8], 0), ([0.3, 0.1, 0.2, 0.9], 0), ([None, 0.2, 0.1], 2), ([0.4], 0)],
)
def test_median_seed(s_f1, expected):
    assert seeds.median_seed([seed_report(i, value) for i, value in enumerate(s_f1)]) == expected


def test_write_json_keeps_order_and_converts_numpy(tmp_path):
    path = tmp_path / "new" / "report.json"
    report = {"z": np.float32(0.5), "a": np.int64(3), "m": np.array([1, 2]), "none": None, "flag": np.bool_(True)}
    assert json_files.write_json(path, report) == path
    assert list(json.loads(path.read_text())) == ["z", "a", "m", "none", "flag"]
    assert json_files.read_json(path) == {"z": 0.5, "a": 3, "m": [1, 2], "none": None, "flag": True}
    assert [entry.name for entry in path.parent.iterdir()] == ["report.json"]


@pytest.mark.parametrize("bad", [float("nan"), np.float64("inf"), np.float32("nan"), np.array([1.0, np.nan])])
def test_write_json_refuses_nan_and_leaves_the_old_file(tmp_path, bad):
    path = tmp_path / "report.json"
    json_files.write_json(path, {"kept": 1})
    with pytest.raises(DeepECGError, match="report.json"):
        json_files.write_json(path, {"ds2": {"accuracy": bad}})
    assert json_files.read_json(path) == {"kept": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_write_json_that_cannot_write_names_the_path(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DeepECGError, match="report.json"):
        json_files.write_json(tmp_path / "file" / "report.json", {})


@pytest.mark.parametrize("text", ["", '{"a": ', '{"a": NaN}', "[1]", "\xff"])
def test_read_json_of_a_damaged_file_is_one_clear_line(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DeepECGError, match="report.json is not a readable report") as error:
        json_files.read_json(path)
    assert "\n" not in str(error.value)


def test_read_json_of_a_missing_file_says_what_to_run(tmp_path):
    with pytest.raises(DeepECGError, match="main.py"):
        json_files.read_json(tmp_path / "report.json")


def test_markdown_shows_the_worked_results_and_dashes():
    text = report.render_markdown(full_report())
    assert "SYNTHETIC" not in text
    assert "Accuracy 86.67 %" in text  # 104 of 120
    assert "| V | 10 | 80.0 (" in text
    assert "| Q | 0 | - | - | - | - |" in text
    assert "| S | 4 | 6 | 0 | 0 | 0 |" in text
    assert "51,021" in text
    lines = text.splitlines()
    for header, rule in zip(lines, lines[1:]):
        if rule.startswith("| ---"):
            assert header.replace("\\|", "").count("|") == rule.count("|")


def test_losses_stand_beside_the_scores_of_the_held_out_patients():
    """Loss of the network shown, and scores of the training that the validation patients were held out of."""
    report = full_report()
    assert "| 1 | 0.2500 | 0.4000 | 90.00 | - | 80.0 |" in report.render_markdown(report)
    report["training"]["history"].append({"epoch": 2, "train_loss": 0.125})
    assert "| 2 | 0.1250 | - | - | - | - |" in report.render_markdown(report)
    del report["validation"]
    assert "| 1 | 0.2500 | - | - | - | - |" in report.render_markdown(report)


def test_markdown_and_table_are_stamped_on_synthetic_data():
    report = full_report("synthetic")
    text = report.render_markdown(report)
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert len(headings) == 12 and all("SYNTHETIC" in line for line in headings)
    assert "SYNTHETIC data:" in text.splitlines()[2]
    table = report.results_table(report).splitlines()
    assert table[0].startswith("SYNTHETIC data:") and table[1].startswith("SYNTHETIC: DS2")


def test_missing_sections_are_left_out():
    report = full_report("synthetic")
    for name in list(report):
        part = {key: value for key, value in report.items() if key != name}
        assert "Deep-ECG report" in report.render_markdown(part)
        assert report.results_table(part)
    bare = report.render_markdown({})
    assert "##" not in bare and "None" not in bare
    for name in report["ds2"]:
        ds2 = {key: value for key, value in report["ds2"].items() if key != name}
        part = {**report, "ds2": ds2}
        assert "None" not in report.render_markdown(part) + report.results_table(part)


def test_results_table_is_aligned():
    lines = report.results_table(full_report()).splitlines()
    assert lines[0].startswith("DS2 (mode causal, preset edge, seed 3): n = 120 beats, accuracy 86.67 %")
    assert lines[1].split() == ["class", "n", "Se", "%", "+P", "%", "F1", "%", "AUC"]
    assert [line.split()[:4] for line in lines[2:5]] == [
        ["N", "100", "90.0", "94.7"],
        ["S", "10", "60.0", "50.0"],
        ["V", "10", "80.0", "72.7"],
    ]
    assert len({len(line) for line in lines[1:]}) == 1


def test_changes_of_scores_by_hand():
    """Two of three S beats are lost, one to N and one to V, whose F1 falls from 1 to 2 / (1 + 2); F1 of S 1 to 0.5."""
    labels = np.array([0, 0, 1, 1, 1, 2])
    changes = measures.score_changes(labels, labels, np.array([0, 0, 0, 2, 1, 2]))
    assert changes == {
        "accuracy_change": pytest.approx(-2 / 6),
        "s_f1_change": pytest.approx(-0.5),
        "v_f1_change": pytest.approx(-1 / 3),
    }
    only_n = measures.score_changes(np.zeros(4, int), np.zeros(4, int), np.array([0, 0, 0, 2]))
    assert only_n == {"accuracy_change": -0.25, "s_f1_change": None, "v_f1_change": None}


def test_temperature_changes_the_confidence_and_no_other_score():
    labels, one_hot = beats_of(WORKED)
    proba = 0.2 * one_hot + 0.16  # the label has 0.36, each other class 0.16
    records = np.where(np.arange(120) % 2, "100", "232")
    plain, sharper = (measures.evaluate_beats(labels, proba, records, temperature=t) for t in (1.0, 0.5))
    assert {name: sharper[name] for name in plain if name != "confidence"} == {
        name: plain[name] for name in plain if name != "confidence"
    }
    assert plain["confidence"]["before"] == plain["confidence"]["after"] == sharper["confidence"]["before"]
    # 0.36 and 0.16 squared, over their sum: 0.1296 / (0.1296 + 4 * 0.0256)
    assert sharper["confidence"]["after"]["confidence"] == pytest.approx(0.1296 / 0.232)
    assert sharper["confidence"]["temperature"] == 0.5
    json.dumps(sharper, allow_nan=False)


def test_confidence_in_the_report_and_as_a_table():
    report = full_report()
    text = report.render_markdown(report)
    assert "## Confidence on DS2" in text
    # 104 of 120 beats of WORKED are right and the network is sure of all: off by 16/120 before and after
    assert "calibration error 13.33 % before, 13.33 % after" in text
    assert "| 0.99 | 100.0 | 13.33 | 100.0 | 60.0 | 50.0 | 100.0 | 80.0 | 72.7 |" in text
    header, _, row = report.confidence_table({"causal, edge": report["ds2"]["confidence"]})
    assert row.startswith("| causal, edge | 1.000 | 13.33 | 13.33 |")
    assert row.endswith("| 100.0 | 50.0 | 100.0 | 72.7 |")
    assert header.count("|") == row.count("|")
