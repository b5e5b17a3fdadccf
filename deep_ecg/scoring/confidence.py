"""What a classifier's probabilities are worth: calibration, temperature scaling, and what abstaining buys.

The confidence of a beat is its highest probability, that of the label it gets. It is calibrated where of the beats
with confidence p a share of p is labelled right.
"""

import numpy as np
from scipy.optimize import minimize_scalar

from config import CLASSES
from deep_ecg.networks.temperature import LEAST, LIMITS, tempered
from deep_ecg.system.errors import DeepECGError

BINS = 15
CURVE_POINTS = 50
THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
SHOWN_CLASSES = ("S", "V")


def fit_temperature(labels: np.ndarray, proba: np.ndarray) -> float:
    """The temperature with the lowest negative log-likelihood of `labels` (n,) under `proba` (n, classes).

    The beats must be of patients that the network was not trained on. Within LIMITS. Raises DeepECGError
    where there is no beat.
    """
    if len(labels) == 0:
        raise DeepECGError("there is no beat to fit a temperature to: check that the records hold annotated beats")
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(labels, tempered(proba, np.exp(log_t))),
        bounds=tuple(np.log(LIMITS)), method="bounded", options={"xatol": 1e-4},
    )  # fmt: skip
    return float(np.exp(found.x))


def negative_log_likelihood(labels: np.ndarray, proba: np.ndarray) -> float:
    """Mean over the beats of minus the logarithm of the probability of the true class."""
    return float(-np.log(np.maximum(proba[np.arange(len(labels)), labels].astype(float), LEAST)).mean())


def calibration(labels: np.ndarray, proba: np.ndarray, bins: int = BINS) -> dict:
    """Reliability of the confidences of `proba` (n, classes): bins, expected calibration error, log-likelihood.

    The beats are sorted by confidence and cut into `bins` of equal size, but that beats of equal confidence stay
    together. "bins" holds n, mean confidence and accuracy of each that is not empty. "ece" is the mean over the beats
    of the distance between accuracy and mean confidence in their bin: the expected calibration error of Naeini et al.
    (AAAI 2015) in bins of equal mass, because nearly all beats are sure and bins of equal width would be empty.
    "called" holds the same of the beats that are called each class, whose accuracy is the +P of that class.
    """
    confidence, right = proba.max(axis=1).astype(float), proba.argmax(axis=1) == labels
    ordered = np.sort(confidence)
    edges = ordered[[part[0] for part in np.array_split(np.arange(len(ordered)), bins)[1:] if len(part)]]
    of_bin = np.searchsorted(edges, confidence, side="right")
    parts = [_part(confidence, right, of_bin == number) for number in np.unique(of_bin)]
    called = {name: _part(confidence, right, proba.argmax(axis=1) == k) for k, name in enumerate(CLASSES)}
    return {
        "ece": sum(part["n"] * abs(part["accuracy"] - part["confidence"]) for part in parts) / len(labels),
        "nll": negative_log_likelihood(labels, proba),
        "confidence": float(confidence.mean()),
        "accuracy": float(right.mean()),
        "bins": parts,
        "called": called,
    }


def _part(confidence: np.ndarray, right: np.ndarray, chosen: np.ndarray) -> dict:
    count = int(chosen.sum())
    means = {"confidence": confidence, "accuracy": right}
    return {"n": count} | {name: float(values[chosen].mean()) if count else None for name, values in means.items()}


def risk_coverage(confidence: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and risk at each possible threshold, the highest first: selective classification.

    confidence, wrong (bool): (n,). A threshold keeps the beats of at least that confidence; coverage is their share of
    all beats, risk the share of wrong ones among them (Geifman and El-Yaniv, NeurIPS 2017).
    """
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))  # beats of equal confidence are kept together
    kept = np.arange(1, len(ordered) + 1)
    return (kept / len(ordered))[last], (np.cumsum(wrong[order]) / kept)[last]


def area_under_risk_coverage(coverage: np.ndarray, risk: np.ndarray) -> float:
    """The mean over all beats of the risk of a threshold at their own confidence (Geifman et al., ICLR 2019)."""
    return float(np.sum(risk * np.diff(coverage, prepend=0)))


def _curve(confidence: np.ndarray, wrong: np.ndarray) -> dict | None:
    """The curve of some beats, thinned to CURVE_POINTS, and areas: its own, and that of a perfect order of the beats.

    None where there is no beat.
    """
    if len(wrong) == 0:
        return None
    coverage, risk = risk_coverage(confidence, wrong)
    shown = np.unique(np.searchsorted(coverage, np.linspace(0, 1, CURVE_POINTS + 1)[1:] - 1e-12))
    return {
        "n": len(wrong),
        "error": float(wrong.mean()),
        "aurc": area_under_risk_coverage(coverage, risk),
        "aurc_best": float((np.cumsum(np.sort(wrong)) / np.arange(1, len(wrong) + 1)).mean()),
        "coverage": coverage[shown].tolist(),
        "risk": risk[shown].tolist(),
    }


def abstaining(labels: np.ndarray, proba: np.ndarray, threshold: float) -> dict:
    """What is left when beats whose confidence is below `threshold` are not classified.

    The share of beats kept and the error among them; of S and V the share kept of the reference beats, and Se and +P
    among the beats kept. None where it is 0/0.
    """
    predicted, kept = proba.argmax(axis=1), proba.max(axis=1) >= threshold
    result: dict = {"min_confidence": threshold, "kept": _share(kept), "error": _share((predicted != labels)[kept])}
    for name in SHOWN_CLASSES:
        is_class, called = labels == CLASSES.index(name), predicted == CLASSES.index(name)
        result[name] = {
            "kept": _share(kept[is_class]),
            "se": _share(called[kept & is_class]),
            "ppv": _share(is_class[kept & called]),
        }
    return result


def _share(chosen: np.ndarray) -> float | None:
    return float(chosen.mean()) if len(chosen) else None


def mean_record_gap(labels: np.ndarray, proba: np.ndarray, records: np.ndarray) -> float:
    """The mean over the records of the distance between accuracy and mean confidence.

    All beats together can be calibrated although the network is too sure of some patients and too unsure of others.
    """
    off = (proba.argmax(axis=1) == labels) - proba.max(axis=1).astype(float)
    return float(np.mean([abs(off[records == name].mean()) for name in np.unique(records)]))


def confidence_report(labels: np.ndarray, proba: np.ndarray, records: np.ndarray, temperature: float) -> dict:
    """Calibration before and after `temperature`, and after it the risk-coverage curves and effects of abstaining.

    labels (n,) int, proba (n, classes) as the network gives them, records (n,) names. Curves are of all beats, and of
    the reference beats of S and of V alone: their risk is then 1 - Se among those kept.
    """
    after = tempered(proba, temperature)
    confidence, wrong = after.max(axis=1), after.argmax(axis=1) != labels
    groups = {"all": np.ones(len(labels), bool)} | {name: labels == CLASSES.index(name) for name in SHOWN_CLASSES}
    return {
        "temperature": temperature,
        "before": calibration(labels, proba) | {"record_gap": mean_record_gap(labels, proba, records)},
        "after": calibration(labels, after) | {"record_gap": mean_record_gap(labels, after, records)},
        "risk_coverage": {name: _curve(confidence[group], wrong[group]) for name, group in groups.items()},
        "abstaining": [abstaining(labels, after, threshold) for threshold in THRESHOLDS],
    }
