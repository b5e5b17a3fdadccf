"""Whether the trust that a record gets orders patients by the share of their labels that are wrong.

Patients of DS1, each labelled by a network of the preset `edge` that was trained without it (four folds, one seed), and
those of a folder of other people's records (`--folder`, default: the MIT-BIH Supraventricular Arrhythmia Database in
svdb/ beside the data folder) that `predict`'s network was not trained on, labelled by that; R-peaks of the databases.
Spearman's rank correlation of the expected with the real share. Takes some minutes.
"""

import argparse
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from config import Config
from deep_ecg.labelling.predict import label_record
from deep_ecg.labelling.trust import GRADES, Confidence, trust_of
from deep_ecg.networks.classifier import load_classifier
from deep_ecg.networks.temperature import tempered
from deep_ecg.records.database import Source, real_source
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.machine import versions
from deep_ecg.system.text import markdown_table, number
from experiments.crossvalidation import held_out_probabilities

REPORT = "trust.json"
PRESET = "edge"  # of the networks that are trained here


def add_options(parser: argparse.ArgumentParser):
    """The folder of other people's records."""
    parser.add_argument("--folder", type=Path, metavar="DIR", help="WFDB records with annotations .atr, and RECORDS")


def run(options: argparse.Namespace) -> dict:
    """The report: of each set of patients the rank correlation, and expected and real share of each patient."""
    source = real_source(Config())
    folder = options.folder or source.folder.resolve().parent / "svdb"
    if not (folder / "RECORDS").is_file():
        raise DeepECGError(f"{folder} has no file RECORDS: name a folder of annotated records with --folder")
    own, others = f"DS1, held out, {PRESET}", f"{folder.name}, {Config.preset}"
    sets = {own: summary(held_out(source)), others: summary(of_folder(folder, Config.preset))}
    return {"versions": versions(), "sets": sets}


def held_out(source: Source) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Labels (beats,) and calibrated probabilities (beats, classes) of each patient of DS1, held out of training."""
    config = Config(preset=PRESET, seeds=(0,))
    records, labels, proba = held_out_probabilities(config, source)
    proba = tempered(proba, config.temperature)
    return {str(name): (labels[records == name], proba[records == name]) for name in np.unique(records)}


def of_folder(folder: Path, preset: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The same of each record of `folder` that it was not trained on, by a pretrained diagnostic network."""
    classifier, found = load_classifier(Config(preset=preset)), {}
    for name in (folder / "RECORDS").read_text(encoding="utf-8").split():
        with redirect_stdout(StringIO()):
            labelled = label_record(folder / name, classifier, Config(), "atr")
        if labelled.reference is not None and not labelled.trained_on:
            found[name] = (labelled.reference, labelled.proba)
    return found


def summary(patients: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict:
    """Rank correlation of expected and real share of wrong labels, and both by patient, with the grade."""
    rows = {}
    for name, (labels, proba) in patients.items():
        trust = trust_of(Confidence.of(proba), None)
        wrong = float((proba.argmax(axis=1) != labels).mean())
        rows[name] = {"beats": len(labels), "expected": trust.expected_wrong, "wrong": wrong, "grade": trust.grade}
    pairs = [(row["expected"], row["wrong"]) for row in rows.values()]
    return {"rank_correlation": float(spearmanr(*zip(*pairs)).statistic), "patients": rows}


def table(report: dict) -> list[str]:
    """Markdown lines: one row a set of patients."""
    rows = []
    for name, found in report["sets"].items():
        patients = list(found["patients"].values())
        row = [name, number(len(patients)), number(found["rank_correlation"], ".2f")]
        for grade in GRADES:
            of_grade = [one for one in patients if one["grade"] == grade]
            wrong = np.mean([one["wrong"] for one in of_grade]) if of_grade else None
            row.append("-" if wrong is None else f"{100 * wrong:.1f} ({len(of_grade)})")
        rows.append(row)
    header = ["patients", "n", "rank correlation"]
    return markdown_table([*header, *(f"{grade}: wrong labels % (n)" for grade in GRADES)], rows)
