"""Scores of a beat classifier and the report files that hold them.

Confusion matrices have one row per reference class and one column per predicted class, in the order of
`config.CLASSES`. Rates are fractions; a rate that is 0/0 is None (null in JSON) and is printed as "-". e and j beats
count as N, as in the literature on the DS1 -> DS2 split; EC57's own scorer counts them as S.
"""

import json
from itertools import zip_longest
from pathlib import Path

import numpy as np
from sklearn.metrics import confusion_matrix, roc_auc_score

from confidence import confidence_report
from config import CLASSES, DS2, DeepECGError, name_of_test
from files import atomic_file

RATES = ("se", "ppv", "f1")
UNDEFINED = "-"
SYNTHETIC_LINE = "SYNTHETIC data: made-up signals; these figures say nothing about real ECGs."
N_LABEL, S_LABEL = CLASSES.index("N"), CLASSES.index("S")
PREMATURITY_THRESHOLDS = np.round(np.linspace(0.5, 1.0, 51), 2)


def confusion(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Confusion matrix (5, 5), int: rows are reference classes, columns predicted ones.

    labels, predicted: (n,) class indices 0..4.
    """
    if len(labels) == 0:
        return np.zeros((len(CLASSES), len(CLASSES)), dtype=int)
    return confusion_matrix(labels, predicted, labels=range(len(CLASSES)))


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


def _or_none(value: float) -> float | None:
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


def _record_matrices(labels: np.ndarray, predicted: np.ndarray, records: np.ndarray) -> dict[str, np.ndarray]:
    records = np.asarray(records).astype(str)
    return {str(name): confusion(labels[records == name], predicted[records == name]) for name in np.unique(records)}


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
    total = sum(matrices.values())
    return {"+".join(group): _scores(total - sum(matrices[name] for name in group)) for group in groups}


def _auc(is_class: np.ndarray, score: np.ndarray) -> float | None:
    """Area under the ROC curve; None where only one of the two classes is there."""
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
    excluded: tuple[str, ...] = ("202", "232"),
    bootstrap: int = 1000,
    seed: int = 0,
    temperature: float = 1.0,
) -> dict:
    """Scores of the most probable class of each beat, ready for JSON.

    labels: (n,) int, 0..4; proba: (n, 5) class probabilities; records: (n,) record names.
    excluded: records left out, alone and together, in `without`: 202 shares its subject with 201 of DS1, 232 holds
    three quarters of DS2's S beats. A name that is not among the records is passed over.
    bootstrap: resamples of whole records for the 95 % intervals in `ci95`; 0 for none.
    temperature: what calibrates the probabilities in `confidence`; all else is of `proba` as they are.

    Returns n, accuracy, auc_micro, auc (one class against the rest), per_class, confusion (rows reference, columns
    predicted), per_record (only classes present or predicted there), without, ci95, confidence (calibration and
    risk-coverage curves, see `confidence.confidence_report`).
    Raises ValueError for shapes that do not belong together, DeepECGError for no beats or non-finite probabilities.
    """
    labels, proba, records = np.asarray(labels), np.asarray(proba), np.asarray(records)
    _check_beats(labels, proba, records)
    matrices = _record_matrices(labels, proba.argmax(axis=1), records)
    total = sum(matrices.values())
    one_hot = labels[:, None] == np.arange(len(CLASSES))  # (n, 5)
    scores = _scores(total)
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
    matrices = _record_matrices(np.asarray(labels), predicted, records)
    total = sum(matrices.values())
    return {**_scores(total), "confusion": total.tolist(), "without": _scores_without(matrices, excluded)}


def majority_baseline(
    train_labels: np.ndarray, labels: np.ndarray, records: np.ndarray, excluded: tuple[str, ...] = ("202", "232")
) -> dict:
    """Scores (n, accuracy, per_class, confusion, without) of calling every beat the commonest training class."""
    commonest = np.bincount(train_labels, minlength=len(CLASSES)).argmax()
    return _baseline(labels, np.full(len(labels), commonest), records, excluded)


def _prematurity_threshold(pre_ratio: np.ndarray, labels: np.ndarray) -> float:
    """The threshold with the best S F1; the lowest of equally good ones."""
    is_s = np.asarray(labels) == S_LABEL
    called_s = np.asarray(pre_ratio)[None, :] < PREMATURITY_THRESHOLDS[:, None]  # (thresholds, n)
    f1 = _ratio(2 * (called_s & is_s).sum(axis=1), called_s.sum(axis=1) + is_s.sum())
    return float(PREMATURITY_THRESHOLDS[np.nan_to_num(f1).argmax()])


def prematurity_baseline(
    pre_ratio_train: np.ndarray,
    train_labels: np.ndarray,
    pre_ratio: np.ndarray,
    labels: np.ndarray,
    records: np.ndarray,
    excluded: tuple[str, ...] = ("202", "232"),
) -> dict:
    """One-line rule: a beat is S if its pre-RR is below `threshold` times the running mean RR, else N.

    pre_ratio_train, pre_ratio: (n,) pre-RR over the record's running mean RR; a NaN ratio is called N.
    The threshold (0.50 to 1.00 in steps of 0.01) has the best S F1 on the training beats; the scored beats do not
    touch it. Returns threshold, n, accuracy, per_class, confusion, without.
    """
    threshold = _prematurity_threshold(pre_ratio_train, train_labels)
    predicted = np.where(np.asarray(pre_ratio) < threshold, S_LABEL, N_LABEL)
    return {"threshold": threshold, **_baseline(labels, predicted, records, excluded)}


def mean_sd(values: list[float | None]) -> dict:
    """Mean and sample standard deviation of the values that are not None, and how many those are."""
    known = [value for value in values if value is not None]
    return {
        "mean": float(np.mean(known)) if known else None,
        "sd": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "n": len(known),
    }


def _spread(results: list[dict]) -> dict:
    per_class = {
        name: {rate: mean_sd([result["per_class"][name][rate] for result in results]) for rate in RATES}
        for name in CLASSES
    }
    return {"accuracy": mean_sd([result["accuracy"] for result in results]), "per_class": per_class}


def over_seeds(reports: list[dict]) -> dict:
    """Mean, sd (ddof = 1; None for one value) and n of the DS2 scores of several reports, one per seed.

    Every score becomes {"mean", "sd", "n"}; None values are left out, so n may be below the number of seeds.
    Returns n, seeds, accuracy, auc_micro, per_class, without and confidence (ece_before, ece_after, aurc).
    """
    results = [report["ds2"] for report in reports]
    groups = list(dict.fromkeys(name for result in results for name in result["without"]))
    spread = _spread(results)
    return {
        "n": len(reports),
        "seeds": [report["seed"] for report in reports],
        "accuracy": spread["accuracy"],
        "auc_micro": mean_sd([result["auc_micro"] for result in results]),
        "per_class": spread["per_class"],
        "without": {
            name: _spread([result["without"][name] for result in results if name in result["without"]])
            for name in groups
        },
        "confidence": {
            "ece_before": mean_sd([result["confidence"]["before"]["ece"] for result in results]),
            "ece_after": mean_sd([result["confidence"]["after"]["ece"] for result in results]),
            "aurc": mean_sd([result["confidence"]["risk_coverage"]["all"]["aurc"] for result in results]),
        },
    }


def median_seed(reports: list[dict]) -> int:
    """Index of the report whose S F1 + V F1 on DS2 is nearest the median over the reports; ties: the lowest index.

    An undefined F1 counts as 0.
    """
    f1 = [[report["ds2"]["per_class"][name]["f1"] or 0.0 for name in "SV"] for report in reports]
    score = np.sum(f1, axis=1)
    # Rounded, so that two reports equally far from the median are a tie in floating point as well.
    return int(np.round(np.abs(score - np.median(score)), 12).argmin())


def _plain(value):
    """Plain Python value of a NumPy scalar or array, for `json`."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be stored in a report")


def write_json(path: str | Path, report: dict) -> Path:
    """Write a report as JSON, keys in their given order; a file that is there stays whole until it is replaced.

    NumPy scalars and arrays become plain values. Raises DeepECGError for NaN or infinity, which JSON does not know,
    and where the file cannot be written.
    """
    try:
        text = json.dumps(report, indent=2, allow_nan=False, default=_plain)
    except ValueError as error:
        raise DeepECGError(f"{path} was not written: the report holds NaN or infinity; use None instead") from error
    with atomic_file(Path(path)) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return Path(path)


def _refuse_constant(name: str):
    raise ValueError(f"{name} is not JSON")


def read_json(path: str | Path) -> dict:
    """Read a report written by `write_json`. Raises DeepECGError where it is missing or damaged."""
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError as error:
        raise DeepECGError(f"{path} is missing: run `python main.py` to write it") from error
    except OSError as error:
        raise DeepECGError(f"{path} cannot be read ({error.strerror or error}): mend its permissions") from error
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are both ValueErrors
        raise DeepECGError(f"{path} is not a readable report: run `python main.py` to write it again") from error
    if not isinstance(report, dict):
        raise DeepECGError(f"{path} is not a readable report: run `python main.py` to write it again")
    return report


def _is_synthetic(report: dict) -> bool:
    return report.get("data_source") == "synthetic"


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction as per cent without the sign, "-" for None."""
    return UNDEFINED if fraction is None else f"{100 * fraction:.{digits}f}"


def number(value, pattern: str = ",") -> str:
    """A number in the format `pattern`, "-" for None."""
    return UNDEFINED if value is None else format(value, pattern)


def _with_interval(scores: dict, intervals: dict, name: str, rate: str) -> str:
    interval = intervals.get(f"{name}_{rate}")
    shown = percent(scores.get(rate))
    return f"{shown} ({percent(interval[0])} to {percent(interval[1])})" if interval else shown


def mean_sd_text(stat: dict | None, seeds: int, scale: float = 100.0, digits: int = 1) -> str:
    """A spread of `over_seeds` as "mean ± sd", scaled (per cent by default); "-" where there is none."""
    if not stat or stat["mean"] is None:
        return UNDEFINED
    text = f"{scale * stat['mean']:.{digits}f}"
    if stat["sd"] is not None:
        text += f" ± {scale * stat['sd']:.{digits}f}"
    return text if stat.get("n", seeds) == seeds else f"{text} ({stat['n']} of {seeds} seeds)"


def markdown_table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table whose first column is text and whose others are numbers."""
    def line(cells):
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    rule = "|" + "|".join([" --- "] + [" ---: "] * (len(header) - 1)) + "|"
    return [line(header), rule, *(line(row) for row in rows)]


KEPT = {"ds1": "training", "ds2": "test"}


def _run_section(report: dict) -> list[str]:
    versions = report.get("versions") or {}
    kept = report.get("kept_beats") or {}
    facts = {
        "Data": report.get("data_source"),
        "Mode": report.get("mode"),
        "Preset": report.get("preset"),
        "Seed shown": report.get("seed"),
        "Seeds trained": ", ".join(map(str, report.get("seeds") or [])) or None,
        "Parameters": None if report.get("parameters") is None else number(report["parameters"]),
        "Kept beats": ", ".join(f"{KEPT[name]} {number(count)}" for name, count in kept.items()) or None,
        "Threads": report.get("threads"),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()) or None,
    }
    rows = [[name, value] for name, value in facts.items() if value is not None]
    return markdown_table(["Run", ""], rows) if rows else []


def _results_section(report: dict) -> list[str]:
    ds2 = report.get("ds2")
    if not ds2:
        return []
    intervals, auc = ds2.get("ci95") or {}, ds2.get("auc") or {}
    span = intervals.get("accuracy")
    accuracy = f"Accuracy {percent(ds2.get('accuracy'), 2)} %"
    accuracy += f" ({percent(span[0], 2)} to {percent(span[1], 2)})" if span else ""
    rows = [
        [name, number(scores.get("n")), *(_with_interval(scores, intervals, name, rate) for rate in RATES)]
        + [number(auc.get(name), ".4f")]
        for name, scores in (ds2.get("per_class") or {}).items()
    ]
    lines = [
        f"{accuracy}, micro-average AUC {number(ds2.get('auc_micro'), '.4f')}, n = {number(ds2.get('n'))} beats.",
        "",
        *markdown_table(["Class", "n", "Se %", "+P %", "F1 %", "AUC"], rows),
    ]
    if intervals:
        lines += ["", "In brackets: 95 % interval, bootstrap over records (not beats)."]
    return lines


def _confusion_section(report: dict) -> list[str]:
    matrix = (report.get("ds2") or {}).get("confusion")
    if not matrix:
        return []
    rows = [[name, *map(number, row)] for name, row in zip(CLASSES, matrix)]
    return markdown_table(["Reference \\ predicted", *CLASSES], rows)


def _confidence_section(report: dict) -> list[str]:
    found = (report.get("ds2") or {}).get("confidence")
    if not found:
        return []
    before, after = found["before"], found["after"]
    whole = found["risk_coverage"]["all"]
    note = f"Temperature {found['temperature']:.3f}, fitted on DS1: expected calibration error "
    note += f"{percent(before['ece'], 2)} % before, {percent(after['ece'], 2)} % after; negative log-likelihood "
    note += f"{before['nll']:.4f} and {after['nll']:.4f}; distance between accuracy and mean confidence of a record, "
    note += f"mean over the records, {percent(before['record_gap'], 2)} % and {percent(after['record_gap'], 2)} %. "
    note += f"Area under the risk-coverage curve {whole['aurc']:.5f}."
    return [note, "", *markdown_table(ABSTAINING_HEADER, [abstaining_row(one) for one in found["abstaining"]])]


ABSTAINING_HEADER = ["only above", "beats kept %", "wrong of those %"]
ABSTAINING_HEADER += [f"{name} {column}" for name in "SV" for column in ("kept %", "Se %", "+P %")]


def abstaining_row(one: dict) -> list[str]:
    """Cells of one entry of `confidence.abstaining` under ABSTAINING_HEADER."""
    cells = [percent(one[name][column]) for name in "SV" for column in ("kept", "se", "ppv")]
    return [f"{one['min_confidence']:g}", percent(one["kept"]), percent(one["error"], 2), *cells]


def confidence_table(networks: dict[str, dict]) -> list[str]:
    """Markdown lines: calibration of each network by name, from what `confidence.confidence_report` says of it."""
    rows = []
    for name, found in networks.items():
        calibrated = [percent(found[part]["ece"], 2) for part in ("before", "after")]
        called = [percent(found["after"]["called"][c][key]) for c in "SV" for key in ("confidence", "accuracy")]
        area = number(1000 * found["risk_coverage"]["all"]["aurc"], ".2f")
        rows.append([name, f"{found['temperature']:.3f}", *calibrated, area, *called])
    header = ["network", "temperature", "ECE % before", "ECE % after", "area under risk-coverage, 10⁻³"]
    header += [f"called {c}: {column}" for c in "SV" for column in ("mean confidence %", "+P %")]
    return markdown_table(header, rows)


def _comparison_row(name: str, scores: dict) -> list[str]:
    per_class = scores.get("per_class") or {}
    cells = [percent((per_class.get(letter) or {}).get(rate)) for letter in "SV" for rate in RATES]
    return [name, number(scores.get("n")), percent(scores.get("accuracy"), 2), *cells]


def _comparison_section(report: dict) -> list[str]:
    baselines = report.get("baselines") or {}
    candidates = {
        "Network": report.get("ds2"),
        "Majority class": baselines.get("majority"),
        "Prematurity rule": baselines.get("prematurity"),
    }
    rows = []
    for name, scores in candidates.items():
        if scores:
            rows.append(_comparison_row(name, scores))
            without = scores.get("without") or {}
            rows += [_comparison_row(f"{name}, without {group}", part) for group, part in without.items()]
    if not rows:
        return []
    header = ["Classifier", "n", "Accuracy %"] + [f"{name} {rate} %" for name in "SV" for rate in ("Se", "+P", "F1")]
    lines = markdown_table(header, rows)
    threshold = (baselines.get("prematurity") or {}).get("threshold")
    if threshold is not None:
        rule = f"S if the pre-RR is below {threshold:.2f} times the running mean RR, else N"
        lines += ["", f"Prematurity rule: {rule}; threshold chosen on the training records."]
    return lines


def _record_section(report: dict) -> list[str]:
    per_record = (report.get("ds2") or {}).get("per_record")
    if not per_record:
        return []
    rows = []
    for record, scores in per_record.items():
        row = [record, number(scores.get("n")), percent(scores.get("accuracy"), 2)]
        for name in "SVF":
            part = (scores.get("per_class") or {}).get(name) or {}
            row += [number(part.get("n", 0)), percent(part.get("se")), percent(part.get("ppv"))]
        rows.append(row)
    header = ["Record", "n", "Accuracy %"] + [f"{name} {column}" for name in "SVF" for column in ("n", "Se %", "+P %")]
    return markdown_table(header, rows)


def _seeds_section(report: dict) -> list[str]:
    spread = report.get("over_seeds")
    if not spread:
        return []
    seeds = spread["n"]
    rows = []
    without = {f"Without {name}": part for name, part in (spread.get("without") or {}).items()}
    groups = {f"All of {_tested_on(report)}": spread} | without
    for group, part in groups.items():
        for name, rates in (part.get("per_class") or {}).items():
            rows.append([group, name, *(mean_sd_text(rates.get(rate), seeds) for rate in RATES)])
    accuracy = "; ".join(
        f"{group} {mean_sd_text(part.get('accuracy'), seeds, digits=2)} %" for group, part in groups.items()
    )
    auc = mean_sd_text(spread.get("auc_micro"), seeds, scale=1.0, digits=4)
    head = f"Mean ± sd over seeds {', '.join(map(str, spread.get('seeds') or []))} (n = {seeds})."
    return [
        f"{head} Accuracy: {accuracy}. Micro-average AUC {auc}.",
        "",
        *markdown_table(["Beats", "Class", "Se %", "+P %", "F1 %"], rows),
    ]


def per_record_table(per_record: dict[str, dict]) -> str:
    """Markdown table of the `record_scores` of each record: accuracy, and n, Se and +P of S, V and F."""
    rows = []
    for record, scores in per_record.items():
        cells = []
        for name in "SVF":
            part = scores["per_class"].get(name) or {}
            cells += [number(part.get("n", 0)), percent(part.get("se")), percent(part.get("ppv"))]
        rows.append([record, number(scores["n"]), percent(scores["accuracy"], 2), *cells])
    header = ["record", "n", "accuracy %"] + [f"{c} {column}" for c in "SVF" for column in ("n", "Se %", "+P %")]
    return "\n".join(markdown_table(header, rows))


def _training_section(report: dict) -> list[str]:
    """Losses of the training, beside the scores of the one in which the validation patients were held out."""
    history, validation = (report.get("training") or {}).get("history"), report.get("validation") or []
    if not history:
        return []
    rows = [
        [number(entry.get("epoch")), number(entry.get("train_loss"), ".4f"), number(unseen.get("val_loss"), ".4f")]
        + [percent(unseen.get("val_accuracy"), 2), percent(unseen.get("val_s_f1")), percent(unseen.get("val_v_f1"))]
        for entry, unseen in zip_longest(history, validation, fillvalue={})
    ]
    header = ["Epoch", "Training loss", "Validation loss", "Validation accuracy %", "S F1 %", "V F1 %"]
    note = "Validation: training patients, held out of a training of its own; nothing is chosen by it."
    return [note, "", *markdown_table(header, rows)]


def _int8_section(report: dict) -> list[str]:
    int8 = report.get("int8")
    if not int8:
        return []
    rows = [
        ["Bytes", *(number(int8.get(f"{kind}_bytes")) for kind in ("fp32", "int8"))],
        ["Accuracy %", *(percent(int8.get(f"{kind}_accuracy"), 2) for kind in ("fp32", "int8"))],
        ["Latency, µs per beat", *(number(int8.get(f"{kind}_latency_us"), ",.0f") for kind in ("fp32", "int8"))],
    ]
    change = int8.get("accuracy_change")
    points = UNDEFINED if change is None else f"{100 * change:+.3f}"
    size = f"{number(int8.get('ratio'), '.2f')} times smaller, accuracy change {points} points."
    return [*markdown_table(["", "fp32", "int8"], rows), "", size]


def _cost_section(report: dict) -> list[str]:
    rows = [[f"{name}, s", number(value, ",.1f")] for name, value in (report.get("timings_s") or {}).items()]
    if report.get("peak_rss_mb") is not None:
        rows.append(["peak memory, MB", number(report["peak_rss_mb"], ",.0f")])
    return markdown_table(["Stage", ""], rows) if rows else []


def _config_section(report: dict) -> list[str]:
    rows = [[f"`{name}`", f"`{value}`"] for name, value in (report.get("config") or {}).items()]
    return markdown_table(["Setting", "Value"], rows) if rows else []


SECTIONS = (
    ("Run", _run_section),
    ("Results on {test}", _results_section),
    ("Confusion matrix on {test}", _confusion_section),
    ("Confidence on {test}", _confidence_section),
    ("Baselines, and {test} without single records", _comparison_section),
    ("Over seeds", _seeds_section),
    ("Per record", _record_section),
    ("Training", _training_section),
    ("int8", _int8_section),
    ("Time and memory", _cost_section),
    ("Settings", _config_section),
)


def _tested_on(report: dict) -> str:
    return name_of_test((report.get("config") or {}).get("test_records", DS2))


def render_markdown(report: dict) -> str:
    """The report as Markdown. Sections that the report lacks are left out.

    On synthetic data the text opens with a SYNTHETIC line and so does every table's title.
    """
    stamp = "SYNTHETIC: " if _is_synthetic(report) else ""
    lines = [f"# {stamp}Deep-ECG report", ""]
    lines += [f"**{SYNTHETIC_LINE}**", ""] if stamp else []
    lines += ["Research code, not a medical device. Rates are in percent; `-` is undefined (0/0).", ""]
    for title, section in SECTIONS:
        body = section(report)
        if body:
            lines += [f"## {stamp}{title.format(test=_tested_on(report))}", "", *body, ""]
    return "\n".join(lines)


def results_table(report: dict) -> str:
    """Plain-text table of the DS2 results for the console: class, n, Se, +P, F1 (in %) and AUC.

    On synthetic data the first line and the title say SYNTHETIC. Without DS2 results it says so.
    """
    stamp = "SYNTHETIC: " if _is_synthetic(report) else ""
    lines = [SYNTHETIC_LINE] if stamp else []
    ds2 = report.get("ds2")
    if not ds2:
        return "\n".join([*lines, f"{stamp}no DS2 results in this report"])
    run = ", ".join(f"{name} {report[name]}" for name in ("mode", "preset", "seed") if report.get(name) is not None)
    lines.append(
        f"{stamp}{_tested_on(report)}{f' ({run})' if run else ''}: n = {number(ds2.get('n'))} beats, "
        f"accuracy {percent(ds2.get('accuracy'), 2)} %, micro AUC {number(ds2.get('auc_micro'), '.4f')}"
    )
    auc = ds2.get("auc") or {}
    lines.append(f"{'class':<6}{'n':>8}{'Se %':>8}{'+P %':>8}{'F1 %':>8}{'AUC':>9}")
    for name, scores in (ds2.get("per_class") or {}).items():
        rates = "".join(f"{percent(scores.get(rate)):>8}" for rate in RATES)
        lines.append(f"{name:<6}{number(scores.get('n')):>8}{rates}{number(auc.get(name), '.4f'):>9}")
    return "\n".join(lines)
