"""Scores on the held-out patients of other databases: the open protocol's tables, apart from those of DS2."""

from collections.abc import Mapping

import numpy as np

from config import CLASSES
from deep_ecg.scoring.measures import class_metrics, confusion
from deep_ecg.system.text import markdown_table, number, percent

MANY_V = 0.05  # share of a record's beats called V above which somebody would be alarmed


def beat_scores(labels: np.ndarray, proba: np.ndarray) -> dict:
    """Beats, accuracy and the scores of each class, of `labels` (beats,) and probabilities (beats, 5)."""
    matrix = confusion(labels, proba.argmax(axis=1))
    accuracy = float(np.trace(matrix) / max(matrix.sum(), 1))
    return {"n": len(labels), "accuracy": accuracy, "per_class": class_metrics(matrix), "confusion": matrix.tolist()}


def called_by_record_label(records: np.ndarray, proba: np.ndarray, label_of: Mapping[str, str]) -> dict[str, dict]:
    """What the found beats of records of each label are called: shares of S, V and F, and of records with many V.

    records (beats,) names, proba (beats, 5), `label_of` each record.
    """
    called, found = proba.argmax(axis=1), {}
    labels = np.array([label_of[name] for name in records.tolist()])
    for label in sorted(set(labels.tolist())):
        here = labels == label
        names = np.unique(records[here])
        many_v = [float((called[records == name] == CLASSES.index("V")).mean() > MANY_V) for name in names]
        shares = {name: float((called[here] == CLASSES.index(name)).mean()) for name in "SVF"}
        found[label] = {"records": len(names), "n": int(here.sum()), **shares, "many_v": float(np.mean(many_v))}
    return found


def held_out_lines(held_out: dict[str, dict]) -> list[str]:
    """Markdown lines of `held_out`: of each database what `beat_scores` or `called_by_record_label` says."""
    lines: list[str] = []
    for name, scores in held_out.items():
        if "per_class" in scores:
            rates = [percent(scores["per_class"][letter]["f1"]) for letter in "SVF"]
            rows = [[name, number(scores["n"]), percent(scores["accuracy"], 2), *rates]]
            lines += markdown_table(["Held-out patients", "n", "Accuracy %", "S F1 %", "V F1 %", "F F1 %"], rows)
        else:
            rows = [
                [f"{name}, {label}", number(one["records"]), number(one["n"]), *(percent(one[c], 2) for c in "VSF"),
                 percent(one["many_v"])]
                for label, one in scores.items()
            ]  # fmt: skip
            header = ["Held-out records, label", "records", "beats found", "called V %", "S %", "F %"]
            lines += markdown_table([*header, f"records with more than {100 * MANY_V:g} % V, %"], rows)
        lines.append("")
    return lines[:-1]
