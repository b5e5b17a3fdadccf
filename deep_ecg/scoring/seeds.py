"""Scores over several trainings that differ by their seed: their spread, and which of them is shown."""

import numpy as np

from config import CLASSES
from deep_ecg.scoring.measures import RATES


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

    Every score becomes {"mean", "sd", "n"}; None values are left out, so that n may be below the number of seeds.
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
