"""Scores against hand-worked matrices and published counts."""

import json

import numpy as np
import pytest

from deep_ecg.scoring import measures
from deep_ecg.system.errors import DeepECGError
from tests.support.scores import WORKED, beats_of

DS2_COUNTS = (44259, 1837, 3221, 388, 7)  # published counts of the de Chazal DS2 beats, e and j as N


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


def test_what_sorts_many_beats_is_of_evenly_chosen_ones(monkeypatch):
    """Every second beat is sure and right, the others are wrong: of those chosen the area is 1, of all it is not."""
    labels = np.tile([0, 2], 30)
    proba = np.where(labels[:, None] == 0, [0.7, 0, 0.3, 0, 0], [0.8, 0, 0.2, 0, 0])
    proba[::4] = [0.1, 0, 0.9, 0, 0]
    labels[::4] = 2
    whole = measures.evaluate_beats(labels, proba, np.full(60, "100"))
    monkeypatch.setattr(measures, "SORTED_BEATS", 30)
    some = measures.evaluate_beats(labels, proba, np.full(60, "100"))
    assert some["auc"]["V"] == 1.0 and whole["auc"]["V"] < 1.0
    assert some["confidence"]["after"]["accuracy"] == 1.0
    assert (some["n"], some["confusion"], some["accuracy"]) == (60, whole["confusion"], whole["accuracy"])


def test_a_record_whose_beats_are_not_together_is_scored_as_one():
    found = measures.evaluate_beats(np.zeros(4, int), np.eye(5)[[0, 0, 0, 2]], np.array(["b", "a", "b", "a"]))
    assert {name: one["accuracy"] for name, one in found["per_record"].items()} == {"a": 0.5, "b": 1.0}


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
