"""The spread over seeds and the seed shown, on scores worked by hand."""

import pytest

from config import CLASSES
from deep_ecg.scoring import seeds


def seed_report(seed: int, s_f1: float | None, v_f1: float = 0.9, accuracy: float = 0.9) -> dict:
    per_class = {name: {"n": 10, "se": 0.5, "ppv": 0.5, "f1": 0.5} for name in CLASSES}
    per_class["S"]["f1"], per_class["V"]["f1"] = s_f1, v_f1
    scores = {"n": 50, "accuracy": accuracy, "per_class": per_class}
    parts = {"before": {"ece": accuracy / 9}, "after": {"ece": 0.01}, "risk_coverage": {"all": {"aurc": 0.002}}}
    return {"seed": seed, "ds2": {**scores, "auc_micro": 0.99, "without": {"232": scores}, "confidence": parts}}


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
