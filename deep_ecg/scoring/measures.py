"""Scores of a beat classifier, and of two simple rules to compare it with.

Confusion matrices have one row per reference class and one column per predicted class, in the order of
`config.CLASSES`. Rates are fractions; a rate that is 0/0 is None (null in JSON) and is printed as "-". e and j beats
count as N, as in the literature on the DS1 -> DS2 split; EC57's own scorer counts them as S.
"""

import numpy as np

from config import CLASSES
from deep_ecg.beats.arrays import stretches_of
from deep_ecg.scoring.confidence import confidence_report
from deep_ecg.system.errors import DeepECGError

RATES = ("se", "ppv", "f1")
SORTED_BEATS = 2**16  # are enough for what sorts them; DS2 has fewer
N_LABEL, S_LABEL = CLASSES.index("N"), CLASSES.index("S")
EXCLUDED = ("202", "232")  # 202 shares its subject with 201 of DS1, 232 holds three quarters of DS2's S beats
PREMATURITY_THRESHOLDS = np.round(np.linspace(0.5, 1.0, 51), 2)


def confusion(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Confusion matrix (5, 5), int: rows are reference classes, columns predicted ones.

    labels, predicted: (n,) class indices 0..4.
    """
    count = len(CLASSES)
    cells = count * np.asarray(labels, int) + np.asarray(predicted, int)
    return np.bincount(cells, minlength=count**2).reshape(count, count)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Element-wise quotient, NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(np.shape(denominator), np.nan), where=denominator > 0)


def _rates(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """Se, +P and F1, each (..., 5), of confusion matrices (..., 5, 5); NaN where undefined."""
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    n_reference, n_predicted = matrices.sum(axis=-1), matrices.sum(axis=-2)
    return {
        "se": _ratio(hits, n_reference),
        "ppv": _ratio(hits, n_predicted),
        "f1": _ratio(2 * hits, n_reference + n_predicted),  # 2TP / (2TP + FP + FN)
    }


def _accuracy(matrices: np.ndarray) -> np.ndarray:
    return _ratio(np.trace(matrices, axis1=-2, axis2=-1), matrices.sum(axis=(-2, -1)))


def _or_none(value: float | np.ndarray) -> float | None:
    return None if np.isnan(value) else float(value)


def class_metrics(matrix: np.ndarray) -> dict[str, dict]:
    """Per class: n (reference beats), se (sensitivity), ppv (+P) and f1 of a (5, 5) confusion matrix.

    se is None without a reference beat, ppv is None without a predicted beat, f1 = 2TP/(2TP+FP+FN) is None only
    where a class is neither in the reference nor predicted.
    """
    matrix = np.asarray(matrix)
    rates = _rates(matrix)
    return {
        name: {"n": int(matrix[i].sum()), **{rate: _or_none(rates[rate][i]) for rate in RATES}}
        for i, name in enumerate(CLASSES)
    }


def score_changes(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> dict[str, float | None]:
    """By how much accuracy, S F1 and V F1 change, as fractions, from the predictions `before` to those `after`.

    All three are (n,) class indices. A change is None where the score is undefined before or after.
    """
    (old, new) = (_scores(confusion(labels, predicted)) for predicted in (before, after))
    pairs = {"accuracy_change": (old["accuracy"], new["accuracy"])}
    for name in "SV":
        pairs[f"{name.lower()}_f1_change"] = tuple(scores["per_class"][name]["f1"] for scores in (old, new))
    return {name: None if None in pair else pair[1] - pair[0] for name, pair in pairs.items()}


def _scores(matrix: np.ndarray) -> dict:
    return {"n": int(matrix.sum()), "accuracy": _or_none(_accuracy(matrix)), "per_class": class_metrics(matrix)}


def _matrix_by_record(labels: np.ndarray, predicted: np.ndarray, records: np.ndarray) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name, first, end in stretches_of(np.asarray(records)):
        found[name] = found.get(name, 0) + confusion(labels[first:end], predicted[first:end])
    return dict(sorted(found.items()))


def record_scores(matrix: np.ndarray) -> dict:
    """n, accuracy and per_class of one record's (5, 5) confusion matrix; only classes that were there or predicted."""
    scores = _scores(matrix)
    seen = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    scores["per_class"] = {name: scores["per_class"][name] for name, is_seen in zip(CLASSES, seen) if is_seen}
    return scores


def _scores_without(matrices: dict[str, np.ndarray], excluded: tuple[str, ...]) -> dict[str, dict]:
    """Scores without each excluded record that is there, and without all of them."""
    present = [name for name in excluded if name in matrices]
    groups = [(name,) for name in present] + ([tuple(present)] if len(present) > 1 else [])
    total = np.sum(list(matrices.values()), axis=0)
    return {"+".join(group): _scores(total - np.sum([matrices[name] for name in group], axis=0)) for group in groups}


def _auc(is_class: np.ndarray, score: np.ndarray) -> float | None:
    """Area under the ROC curve; None where only one of the two classes is there."""
    from sklearn.metrics import roc_auc_score  # what only trains has no use for it, and no time

    return float(roc_auc_score(is_class, score)) if 0 < is_class.sum() < is_class.size else None


def _bootstrap_by_record(matrices: dict[str, np.ndarray], resamples: int, seed: int) -> dict[str, list | None]:
    """95 % percentile intervals from whole records drawn with replacement.

    Beats of one patient are not independent, so beats are never resampled on their own. Resamples in which a rate is
    undefined are left out of its interval. Empty with fewer than two records: there is nothing to resample.
    """
    stack = np.stack(list(matrices.values()))  # (records, 5, 5)
    count = len(stack)
    if count < 2 or resamples < 1:
        return {}
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    sums = np.tensordot(draws, stack, axes=1)  # (resamples, 5, 5)
    rates = _rates(sums)
    values = {"accuracy": _accuracy(sums)}
    values |= {f"{name}_{rate}": rates[rate][:, i] for i, name in enumerate(CLASSES) for rate in RATES}
    return {name: _percentile_interval(sample[~np.isnan(sample)]) for name, sample in values.items()}


def _percentile_interval(sample: np.ndarray) -> list[float] | None:
    return np.percentile(sample, (2.5, 97.5)).tolist() if sample.size else None


def _check_beats(labels: np.ndarray, proba: np.ndarray, records: np.ndarray):
    if labels.ndim != 1 or proba.shape != (len(labels), len(CLASSES)) or records.shape != labels.shape:
        shapes = f"labels {labels.shape}, proba {proba.shape}, records {records.shape}"
        raise ValueError(f"shapes do not belong together: {shapes}; (n,), (n, {len(CLASSES)}) and (n,) are needed")
    if len(labels) == 0:
        raise DeepECGError("there is no beat to evaluate: check that the test records hold annotated beats")
    if not np.isfinite(proba).all():
        raise DeepECGError("the network's probabilities are not finite: lower learning_rate and train again")


def evaluate_beats(
    labels: np.ndarray,
    proba: np.ndarray,
    records: np.ndarray,
    excluded: tuple[str, ...] = EXCLUDED,
    bootstrap: int = 1000,
    seed: int = 0,
    temperature: float = 1.0,
) -> dict:
    """Scores of the most probable class of each beat, ready for JSON.

    labels: (n,) int, 0..4; proba: (n, 5) class probabilities; records: (n,) record names.
    excluded: records left out, alone and together, in `without`. A name that is not among the records is passed over.
    bootstrap: resamples of whole records for the 95 % intervals in `ci95`; 0 for none.
    temperature: what calibrates the probabilities in `confidence`; all else is of `proba` as they are.

    Returns n, accuracy, auc_micro, auc (one class against the rest), per_class, confusion (rows reference, columns
    predicted), per_record (only classes present or predicted there), without, ci95, confidence (calibration and
    risk-coverage curves, see `confidence.confidence_report`). What sorts the beats, auc and confidence, is of evenly
    chosen ones where there are more than SORTED_BEATS.
    Raises ValueError for shapes that do not belong together, DeepECGError for no beats or non-finite probabilities.
    """
    labels, proba, records = np.asarray(labels), np.asarray(proba), np.asarray(records)
    _check_beats(labels, proba, records)
    matrices = _matrix_by_record(labels, proba.argmax(axis=1), records)
    total = np.sum(list(matrices.values()), axis=0)
    scores = _scores(total)
    some = slice(None, None, max(-(-len(labels) // SORTED_BEATS), 1))
    labels, proba, records = labels[some], proba[some], records[some]
    one_hot = labels[:, None] == np.arange(len(CLASSES))  # (n, 5)
    return {
        "n": scores["n"],
        "accuracy": scores["accuracy"],
        "auc_micro": _auc(one_hot.ravel(), proba.ravel()),
        "auc": {name: _auc(one_hot[:, i], proba[:, i]) for i, name in enumerate(CLASSES)},
        "per_class": scores["per_class"],
        "confusion": total.tolist(),
        "per_record": {name: record_scores(matrix) for name, matrix in matrices.items()},
        "without": _scores_without(matrices, excluded),
        "ci95": _bootstrap_by_record(matrices, bootstrap, seed),
        "confidence": confidence_report(labels, proba, records, temperature),
    }


def _baseline(labels: np.ndarray, predicted: np.ndarray, records: np.ndarray, excluded: tuple[str, ...]) -> dict:
    matrices = _matrix_by_record(np.asarray(labels), predicted, records)
    total = np.sum(list(matrices.values()), axis=0)
    return {**_scores(total), "confusion": total.tolist(), "without": _scores_without(matrices, excluded)}


def majority_baseline(
    train_labels: np.ndarray, labels: np.ndarray, records: np.ndarray, excluded: tuple[str, ...] = EXCLUDED
) -> dict:
    """Scores (n, accuracy, per_class, confusion, without) of calling every beat the commonest training class."""
    commonest = np.bincount(train_labels, minlength=len(CLASSES)).argmax()
    return _baseline(labels, np.full(len(labels), commonest), records, excluded)


def _prematurity_threshold(pre_ratio: np.ndarray, labels: np.ndarray) -> float:
    """The threshold with the best S F1; the lowest of equally good ones."""
    is_s, pre_ratio = np.asarray(labels) == S_LABEL, np.asarray(pre_ratio)
    counts = [((pre_ratio < at).sum(), (is_s & (pre_ratio < at)).sum()) for at in PREMATURITY_THRESHOLDS]
    called_s, right = np.array(counts).T
    f1 = _ratio(2 * right, called_s + is_s.sum())
    return float(PREMATURITY_THRESHOLDS[np.nan_to_num(f1).argmax()])


def prematurity_baseline(
    pre_ratio_train: np.ndarray,
    train_labels: np.ndarray,
    pre_ratio: np.ndarray,
    labels: np.ndarray,
    records: np.ndarray,
    excluded: tuple[str, ...] = EXCLUDED,
) -> dict:
    """One-line rule: a beat is S if its pre-RR is below `threshold` times the running mean RR, else N.

    pre_ratio_train, pre_ratio: (n,) pre-RR over the record's running mean RR; a NaN ratio is called N.
    The threshold (0.50 to 1.00 in steps of 0.01) has the best S F1 on the training beats; the scored beats do not
    touch it. Returns threshold, n, accuracy, per_class, confusion, without.
    """
    threshold = _prematurity_threshold(pre_ratio_train, train_labels)
    predicted = np.where(np.asarray(pre_ratio) < threshold, S_LABEL, N_LABEL)
    return {"threshold": threshold, **_baseline(labels, predicted, records, excluded)}
