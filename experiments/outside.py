"""The networks that ship, on DS2 and other databases: what the rhythm and a second lead bring.

R-peaks of the databases; in CinC 2017, of which a label a record is known, those of the detector, and which of its
recordings `predict` tells to fibrillate. Where the other databases are is said by DEEP_ECG_SVDB_DIR and
DEEP_ECG_CINC2017_DIR or config.py. Takes some minutes.
"""

import argparse
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
from joblib import delayed

from config import DS2, MODES, PRESETS, Config, with_overrides
from data_loader import load_beats, load_database
from deep_ecg.beats.arrays import Beats
from deep_ecg.labelling.predict import SECOND_LEADS, label_lead
from deep_ecg.networks.classifier import Classifier, load_classifier, predict_proba
from deep_ecg.networks.prior import with_running_prior
from deep_ecg.records.database import Source, real_source
from deep_ecg.records.databases import DATABASES, fetched
from deep_ecg.records.wfdb_files import RecordFile
from deep_ecg.scoring.held_out import beat_scores, called_by_record_label
from deep_ecg.system.machine import versions
from deep_ecg.system.text import markdown_table, number, percent
from deep_ecg.system.workers import run_jobs

REPORT = "outside.json"
OTHERS, SHOWN = ("svdb", "cinc2017"), (Config.mode, Config.preset)
SECOND_LEADS_OF = {"mitdb": SECOND_LEADS, "svdb": ("ECG2",)}  # of each record the one that it has
RECORDING_LABELS = {"A": "fibrillation", "N": "sinus", "O": "other", "~": "too noisy"}  # of CinC 2017
MOSTLY = 0.5  # of a recording's time that lies in episodes: it counts as fibrillating
TOLD = {"without": "without the rhythm", "with": "with the rhythm", "two": "with the rhythm, two leads"}
GROUPS = {  # patients of DS2 by the headers of their records, and by the database's directory
    "women": "105 111 113 121 123 212 222 228 231 232 234",
    "men": "100 103 117 200 202 210 213 214 219 221 233",
    "below 60 years": "111 113 212 214 233 234",
    "60 years and older": "100 105 117 121 123 200 202 210 213 221 222 228 231 232",
    "fibrillation or flutter": "202 210 219 221 222",
    "bundle branch block": "111 212 214 231 232",
}


def run(options: argparse.Namespace) -> dict:
    """The report: of each network the scores on each set; of diagnostic ones with a second lead, too, as `predict`."""
    config = Config()
    source = real_source(config)
    folders = {name: fetched(DATABASES[name], with_overrides(config, data_source="local")) for name in OTHERS}
    labels = DATABASES["cinc2017"].labels_of_records(folders["cinc2017"])
    networks = {}
    for mode, preset in product(MODES, PRESETS):
        own = Config(mode=mode, preset=preset)
        classifier = load_classifier(own)
        ds2 = load_beats(source, DS2, own)
        svdb, cinc = (load_database(DATABASES[name], DATABASES[name].held_out, own) for name in OTHERS)
        network = partial(predict_proba, classifier.model)
        of_ds2, of_svdb, of_cinc = (network(one.windows, one.features) for one in (ds2, svdb, cinc))
        usual = classifier.description.decision.rhythm_weight
        networks[f"{mode}, {preset}"] = {
            told: {
                "DS2": _scores(ds2, decided(ds2, of_ds2, classifier, weight)),
                "svdb": _scores(svdb, decided(svdb, of_svdb, classifier, weight)),
                "cinc2017": called_by_record_label(cinc.records, decided(cinc, of_cinc, classifier, weight), labels),
            }
            for told, weight in (("without", 0.0), ("with", usual))
        }
        if mode == "diagnostic":
            networks[f"{mode}, {preset}"]["two"] = with_second_lead(classifier, source, (ds2, svdb), (of_ds2, of_svdb))
        if (mode, preset) == SHOWN:
            groups = by_group(ds2, decided(ds2, of_ds2, classifier, usual))
    told = {mode: fibrillating(Config(mode=mode), folders["cinc2017"], labels) for mode in MODES}
    return {"versions": versions(), "networks": networks, "groups": groups, "fibrillating": told}


def fibrillating(config: Config, folder: Path, labels: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Of the held-out recordings of each of the `labels` how many there are and are `told` to fibrillate.

    That is, half of the time between their first and last beat lies in episodes; `folder` is that of CinC 2017.
    """
    cinc = DATABASES["cinc2017"]
    jobs = (delayed(_fibrillates)(folder / cinc.path(folder, name), config.mode) for name in cinc.held_out)
    answers = list(zip((labels[name] for name in cinc.held_out), run_jobs(jobs, config.threads)))
    records, told = Counter(label for label, _ in answers), Counter(label for label, is_told in answers if is_told)
    return {label: {"records": count, "told": told[label]} for label, count in sorted(records.items())}


def _fibrillates(path: Path, mode: str) -> bool:
    labelled = label_lead(RecordFile.open(path).lead(0), _loaded(mode))
    if not labelled.rhythm:
        return False
    inside = sum(episode.last - episode.first for episode in labelled.rhythm)
    return bool(inside >= MOSTLY * (labelled.samples[-1] - labelled.samples[0]))


@cache
def _loaded(mode: str) -> Classifier:
    return load_classifier(Config(mode=mode))


def with_second_lead(
    classifier: Classifier, source: Source, first: tuple[Beats, Beats], of_first: tuple[np.ndarray, np.ndarray]
) -> dict[str, dict]:
    """The scores on DS2 and svdb, of whose `first` leads the network says `of_first`, with a second one averaged in."""
    own = Config(mode=classifier.description.mode, preset=classifier.description.preset)
    mitdb, svdb = (replace(DATABASES[name], leads=leads) for name, leads in SECOND_LEADS_OF.items())
    second = load_beats(source, DS2, mitdb.config(own)), load_database(svdb, svdb.held_out, own)
    found, usual = {}, classifier.description.decision.rhythm_weight
    for name, one, other, proba in zip(("DS2", "svdb"), first, second, of_first):
        mean = (proba + predict_proba(classifier.model, other.windows, other.features)) / 2
        found[name] = _scores(one, decided(one, mean, classifier, usual))
    return found


def by_group(beats: Beats, proba: np.ndarray) -> dict[str, dict]:
    """The scores of the `beats` of each of GROUPS by their probabilities `proba` (beats, 5)."""
    found = {}
    for name, records in GROUPS.items():
        rows = np.isin(beats.records, records.split())
        scores = beat_scores(beats.labels[rows], proba[rows])
        found[name] = {"patients": len(records.split()), **scores}
    return found


def decided(beats: Beats, proba: np.ndarray, classifier: Classifier, rhythm_weight: float) -> np.ndarray:
    """`proba` (beats, 5) of the network with each patient's priors, the rhythm counted as `rhythm_weight` says."""
    decision = replace(classifier.description.decision, rhythm_weight=rhythm_weight)
    return with_running_prior(proba, beats.groups, beats.rr_s, beats.records, decision)


def _scores(beats: Beats, proba: np.ndarray) -> dict:
    scores = beat_scores(beats.labels, proba)
    return {"n": scores["n"], "accuracy": scores["accuracy"], "f1": {c: scores["per_class"][c]["f1"] for c in "SVF"}}


def table(report: dict) -> list[str]:
    """Markdown lines: two rows a network, three of a diagnostic one."""
    rows = []
    for name, told in report["networks"].items():
        for which, found in told.items():
            ds2, svdb, cinc = found["DS2"], found["svdb"], found.get("cinc2017")
            row = [f"{name}, {TOLD[which]}", percent(ds2["accuracy"], 2), *(percent(ds2["f1"][c]) for c in "SVF")]
            row += [percent(svdb["accuracy"], 2), *(percent(svdb["f1"][c]) for c in "SV")]
            rows.append([*row, *(percent(cinc[label][c], 2) if cinc else "-" for label in "NA" for c in "VS")])
    header = ["network", "DS2 accuracy %", "S F1 %", "V F1 %", "F F1 %", "svdb accuracy %", "S F1 %", "V F1 %"]
    return markdown_table([*header, *(f"cinc2017 {label}, called {c} %" for label in "NA" for c in "VS")], rows)


def recordings_table(report: dict) -> str:
    """Markdown: which recordings of CinC 2017 each network tells to fibrillate; +P and F1 without the noisy ones."""
    rows = []
    for mode, of_label in report["fibrillating"].items():
        records, told = ({label: counts[which] for label, counts in of_label.items()} for which in ("records", "told"))
        called = sum(told[label] for label in "ANO")
        rates = [percent(told[label] / records[label], 1) for label in RECORDING_LABELS]
        f1 = 2 * told["A"] / max(called + records["A"], 1)
        rows.append([f"{mode}, {SHOWN[1]}", *rates, percent(told["A"] / max(called, 1), 1), percent(f1, 1)])
    shares = [f"{name} ({number(records[label])}), %" for label, name in RECORDING_LABELS.items()]
    return "\n".join(markdown_table(["told to fibrillate", *shares, "+P %", "F1 %"], rows))


def groups_table(report: dict) -> str:
    """Markdown: a row a group of patients of DS2, by the network SHOWN."""
    rows = []
    for name, scores in report["groups"].items():
        row = [name, number(scores["patients"]), number(scores["n"]), percent(scores["accuracy"], 2)]
        for letter in "SV":
            row += [number(scores["per_class"][letter]["n"]), percent(scores["per_class"][letter]["f1"])]
        rows.append(row)
    header = ["patients of DS2", "patients", "beats", "accuracy %", "S n", "S F1 %", "V n", "V F1 %"]
    return "\n".join(markdown_table(header, rows))
