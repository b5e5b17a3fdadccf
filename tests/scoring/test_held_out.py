"""Scores on held-out patients of other databases, by hand."""

import numpy as np
import pytest

from deep_ecg.scoring.held_out import beat_scores, called_by_record_label, held_out_lines


def proba_of(classes: list[int]) -> np.ndarray:
    return np.eye(5)[classes]


def test_beats_by_hand():
    """Of 4 N one is called S, of 2 S both are found: S +P 2/3."""
    scores = beat_scores(np.array([0, 0, 0, 0, 1, 1]), proba_of([0, 0, 0, 1, 1, 1]))
    assert scores["n"] == 6 and scores["accuracy"] == pytest.approx(5 / 6)
    assert scores["per_class"]["S"] == {"n": 2, "se": 1.0, "ppv": pytest.approx(2 / 3), "f1": pytest.approx(0.8)}


def test_what_beats_of_records_of_a_label_are_called():
    """A00001 of class N: 1 V of 20 is not above 5 %; A00007: 1 V and 1 S of 4; A00005 of class A: all N."""
    records = np.array(["A00001"] * 20 + ["A00007"] * 4 + ["A00005"] * 6)
    called = [2] + [0] * 19 + [2, 1, 0, 0] + [0] * 6
    found = called_by_record_label(records, proba_of(called), {"A00001": "N", "A00005": "A", "A00007": "N"})
    assert found["A"] == {"records": 1, "n": 6, "S": 0.0, "V": 0.0, "F": 0.0, "many_v": 0.0}
    assert found["N"] == {"records": 2, "n": 24, "S": 1 / 24, "V": 2 / 24, "F": 0.0, "many_v": 0.5}


def test_lines_of_a_report():
    scores = beat_scores(np.array([0, 1]), proba_of([0, 1]))
    called = called_by_record_label(np.array(["A00001"]), proba_of([2]), {"A00001": "N"})
    lines = held_out_lines({"svdb": scores, "cinc2017": called})
    assert "| svdb | 2 | 100.00 | 100.0 | - | - |" in lines
    assert "| cinc2017, N | 1 | 1 | 100.00 | 0.00 | 0.00 | 100.0 |" in lines
    assert held_out_lines({}) == []
