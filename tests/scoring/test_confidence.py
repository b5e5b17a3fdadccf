"""Calibration, temperature and abstaining on cases worked by hand, and what they leave as it is."""

import json

import numpy as np
import pytest
from scipy.special import softmax

from deep_ecg.networks.temperature import LIMITS, tempered
from deep_ecg.scoring.confidence import (
    abstaining,
    area_under_risk_coverage,
    calibration,
    confidence_report,
    fit_temperature,
    mean_record_gap,
    negative_log_likelihood,
    risk_coverage,
)
from deep_ecg.system.errors import DeepECGError

N, S, V, F, Q = range(5)


def beats(*rows: tuple[int, int, float]) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and probabilities (n, 5) of beats given as (reference, called, confidence)."""
    labels, called, confidence = (np.array(column) for column in zip(*rows))
    proba = np.repeat(((1 - confidence) / 4)[:, None], 5, axis=1)
    proba[np.arange(len(rows)), called] = confidence
    return labels, proba


# Two bins of two: the less sure (0.4, 0.6) has one of two right, the surer (0.8, 1.0) both.
# |0.5 - 0.5| * 2/4 + |1 - 0.9| * 2/4 = 0.05
TOY = ((N, S, 0.4), (N, N, 0.6), (V, V, 0.8), (N, N, 1.0))


def test_expected_calibration_error_by_hand():
    found = calibration(*beats(*TOY), bins=2)
    assert found["ece"] == pytest.approx(0.05)
    assert [part["n"] for part in found["bins"]] == [2, 2]
    assert [part["confidence"] for part in found["bins"]] == pytest.approx([0.5, 0.9])
    assert [part["accuracy"] for part in found["bins"]] == [0.5, 1.0]
    assert found["accuracy"] == 0.75 and found["confidence"] == pytest.approx(0.7)
    assert found["called"]["S"] == {"n": 1, "confidence": pytest.approx(0.4), "accuracy": 0.0}
    assert found["called"]["V"] == {"n": 1, "confidence": pytest.approx(0.8), "accuracy": 1.0}
    assert found["called"]["Q"] == {"n": 0, "confidence": None, "accuracy": None}
    # One beat a bin: (0.4 + 0.4 + 0.2 + 0) / 4
    assert calibration(*beats(*TOY))["ece"] == pytest.approx(0.25)


def test_calibration_does_not_depend_on_the_order_of_the_beats_even_in_ties():
    labels, proba = beats(*[(N, N, 0.9)] * 9, *[(S, N, 0.9)] * 3, *TOY)
    expected = calibration(labels, proba, bins=3)
    order = np.random.default_rng(0).permutation(len(labels))
    shuffled = calibration(labels[order], proba[order], bins=3)
    assert shuffled["ece"] == pytest.approx(expected["ece"])
    assert [part["n"] for part in shuffled["bins"]] == [part["n"] for part in expected["bins"]]
    assert sum(part["n"] for part in expected["bins"]) == 16


def drawn(count: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the softmax of random logits, and probabilities of logits `temperature` times as large."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (count, 5))
    true = softmax(logits, axis=1)
    labels = (rng.random((count, 1)) > true.cumsum(axis=1)).sum(axis=1).clip(max=4)
    return labels, softmax(temperature * logits, axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_fit_finds_a_known_temperature(temperature):
    labels, proba = drawn(20_000, temperature)
    found = fit_temperature(labels, proba.astype(np.float32))
    assert found == pytest.approx(temperature, rel=0.03)
    after = calibration(labels, tempered(proba, found))
    assert after["ece"] < 0.02  # 0.01 is what 1,333 beats a bin leave to chance
    if temperature != 1:
        assert calibration(labels, proba)["ece"] > 3 * after["ece"]


def test_a_fit_without_beats_is_refused_and_one_without_errors_stops_at_its_limit():
    with pytest.raises(DeepECGError, match="no beat to fit"):
        fit_temperature(np.array([], int), np.empty((0, 5)))
    assert fit_temperature(*beats((N, N, 0.9), (V, V, 0.6))) == pytest.approx(LIMITS[0], rel=0.02)


def test_tempering_is_dividing_the_logits():
    logits = np.array([[2.0, 1.0, 0.0, -1.0, -3.0], [0.0, 0.0, 5.0, 0.0, 0.0]])
    np.testing.assert_allclose(tempered(softmax(logits, axis=1), 2.5), softmax(logits / 2.5, axis=1), rtol=1e-12)
    proba = softmax(logits, axis=1)
    assert tempered(proba, 1.0) is proba


@pytest.mark.parametrize("temperature", LIMITS)
def test_tempering_changes_no_label(temperature):
    """Neighbours in single precision, and probabilities that have been rounded to 0."""
    least = np.nextafter(np.float32(0.5), np.float32(1))
    proba = np.array([[0.5, least, 0, 0, 0], [0, 0, 1, 0, 0], [0.2, 0.2, 0.2, 0.2, 0.2]], np.float32)
    proba = np.concatenate([proba, np.random.default_rng(0).dirichlet(np.full(5, 0.1), 2000).astype(np.float32)])
    after = tempered(proba, temperature)
    assert np.array_equal(after.argmax(axis=1), proba.argmax(axis=1))
    np.testing.assert_allclose(after.sum(axis=1), 1)
    assert np.isfinite(after).all()


def test_log_likelihood_by_hand():
    labels, proba = beats((N, N, 0.5), (S, S, 0.25))
    assert negative_log_likelihood(labels, proba) == pytest.approx(np.log(8) / 2)


# Abstaining ----------------------------------------------------------------------------------------------------------


def test_risk_coverage_by_hand():
    """From the surest: right, wrong, right, wrong; risks 0, 1/2, 1/3, 2/4, whose mean is 1/3."""
    coverage, risk = risk_coverage(np.array([0.6, 0.9, 0.7, 0.8]), np.array([True, False, False, True]))
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert area_under_risk_coverage(coverage, risk) == pytest.approx(1 / 3)


def test_beats_of_equal_confidence_are_kept_together():
    coverage, risk = risk_coverage(np.array([0.5, 0.9, 0.5, 0.5]), np.array([True, False, False, False]))
    assert coverage.tolist() == [0.25, 1.0] and risk.tolist() == [0.0, 0.25]
    assert area_under_risk_coverage(coverage, risk) == pytest.approx(0.75 * 0.25)


def test_abstaining_by_hand():
    """Kept at 0.7: N as N, S as S, V as N, N as V, V as V; not kept: S as N, N as N."""
    rows = ((N, N, 0.9), (S, S, 0.8), (V, N, 0.75), (N, V, 0.71), (V, V, 0.99), (S, N, 0.5), (N, N, 0.69))
    assert abstaining(*beats(*rows), 0.7) == {
        "min_confidence": 0.7,
        "kept": pytest.approx(5 / 7),
        "error": pytest.approx(2 / 5),
        "S": {"kept": 0.5, "se": 1.0, "ppv": 1.0},
        "V": {"kept": 1.0, "se": 0.5, "ppv": 0.5},
    }
    nothing = abstaining(*beats((N, N, 0.9)), 0.99)
    assert nothing["kept"] == 0 and nothing["error"] is None
    assert nothing["V"] == {"kept": None, "se": None, "ppv": None}


def test_the_gap_of_records_by_hand():
    """Record a is too sure by 0.8 - 0.5, record b too unsure by 1 - 0.6; together they are off by 0.05 alone."""
    labels, proba = beats((N, N, 0.8), (S, N, 0.8), (V, V, 0.6), (V, V, 0.6))
    assert mean_record_gap(labels, proba, np.array(["a", "a", "b", "b"])) == pytest.approx((0.3 + 0.4) / 2)
    assert mean_record_gap(labels, proba, np.full(4, "a")) == pytest.approx(0.05)


def test_the_report_of_a_toy_case():
    labels, proba = beats(*TOY)
    report = json.loads(json.dumps(confidence_report(labels, proba, np.full(4, "100"), 0.5), allow_nan=False))
    assert report["temperature"] == 0.5
    assert report["before"]["ece"] == pytest.approx(0.25)
    assert report["after"]["confidence"] > report["before"]["confidence"]
    assert report["after"]["accuracy"] == report["before"]["accuracy"]
    curves = report["risk_coverage"]
    assert curves["all"]["coverage"] == [0.25, 0.5, 0.75, 1.0]
    assert curves["all"]["risk"] == [0, 0, 0, 0.25]
    assert curves["all"]["aurc"] == curves["all"]["aurc_best"] == pytest.approx(1 / 16)  # the wrong one is least sure
    assert curves["S"] is None and curves["V"]["error"] == 0
    assert [one["min_confidence"] for one in report["abstaining"]][:2] == [0.0, 0.5]
    assert report["abstaining"][0]["kept"] == 1 and report["abstaining"][0]["error"] == 0.25


def test_curves_are_thinned_and_keep_their_ends_and_area():
    labels, proba = drawn(5000, 1.0)
    report = confidence_report(labels, proba, np.full(5000, "100"), 1.0)
    curve = report["risk_coverage"]["all"]
    assert 40 <= len(curve["coverage"]) <= 51 and curve["coverage"][-1] == 1
    assert curve["risk"][-1] == curve["error"] == pytest.approx(1 - report["after"]["accuracy"])
    assert curve["aurc_best"] < curve["aurc"] < curve["error"]
    assert np.trapezoid(curve["risk"], curve["coverage"]) == pytest.approx(curve["aurc"], rel=0.05)
