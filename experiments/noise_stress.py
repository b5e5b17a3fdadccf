"""Noise stress test: what four kinds of noise at six signal-to-noise ratios do to labels and R-peaks.

Noise is added to every record of DS2 as the program `nst` does (noise.py): none for five minutes, then two minutes with
and two without in turn, to minute 21 (`--minutes`). The pretrained networks are scored at reference R-peaks in both
modes, and the causal chain, detector in the loop, by EC57's rules. `--noise-dir` takes the records bw, em and ma of the
MIT-BIH Noise Stress Test Database in the place of generated noise; mains is generated in any case. Takes some six
minutes on two cores.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from joblib import delayed

from config import CLASSES, DS1, DS2, MODES, PRESETS, Config
from deep_ecg.beats.signal_watch import stretches
from deep_ecg.beats.whole_record import causal_r_peaks
from deep_ecg.labelling.lead_beats import probabilities
from deep_ecg.labelling.signal_state import watched
from deep_ecg.networks.classifier import Classifier, load_classifier
from deep_ecg.records.database import real_source
from deep_ecg.records.wfdb_files import Annotation, Record, aami_labels, read_beats, read_record
from deep_ecg.scoring import ec57
from deep_ecg.scoring.confidence import calibration
from deep_ecg.scoring.figures import noise_figure
from deep_ecg.scoring.measures import class_metrics, confusion
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.machine import versions
from deep_ecg.system.text import markdown_table, percent
from deep_ecg.system.workers import run_jobs
from experiments import noise

REPORT = "noise.json"
LEVELS_DB = (24.0, 18.0, 12.0, 6.0, 0.0, -6.0)
PARTS = ("noisy", "between")  # segments with noise; those without it, between them
N_LABEL = CLASSES.index("N")


def add_options(parser: argparse.ArgumentParser):
    """Network, records, noise, and how many processes work."""
    parser.add_argument("--preset", choices=PRESETS, default=Config.preset, help=f"default {Config.preset}")
    parser.add_argument("--records", nargs="+", metavar="RECORD", help="records of DS1 or DS2 (default: all of DS2)")
    parser.add_argument("--minutes", type=float, default=21.0, help="of each record, above 5 (default 21)")
    about = "signal-to-noise ratios (default 24 18 12 6 0 -6)"
    parser.add_argument("--levels-db", type=float, nargs="+", default=LEVELS_DB, metavar="DB", help=about)
    parser.add_argument("--noise-dir", type=Path, metavar="DIR", help="folder of noise records bw, em and ma")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")


def run(options: argparse.Namespace) -> dict:
    """The report. Raises DeepECGError where the real database, a record or a noise record is missing."""
    records = tuple(options.records or DS2)
    unknown = [name for name in records if name not in DS1 + DS2]
    if unknown:
        raise DeepECGError(f"--records {unknown[0]} is in neither DS1 nor DS2: name records of these")
    if not options.minutes > noise.LEARNING_S / 60:
        raise DeepECGError(f"--minutes {options.minutes:g} cannot be used: more than 5 are needed, noise begins then")
    source = real_source(Config())
    if options.noise_dir is not None:  # a record that is missing is told before the work
        for kind in noise.RECORDS:
            noise.read_noise(options.noise_dir, kind, Config.fs_hz)
    jobs = [delayed(of_record)(source.folder / name, options) for name in records]
    counted = list(run_jobs(jobs, options.jobs))
    kinds = {
        kind: {level: summed([one[kind][level] for one in counted]) for level in counted[0][kind]}
        for kind in counted[0]
    }
    return {
        "data_source": source.name,
        "preset": options.preset,
        "records": list(records),
        "minutes": options.minutes,
        "sources": {
            kind: noise.RECORDS[kind] if options.noise_dir is not None and kind in noise.RECORDS else "generated"
            for kind in noise.KINDS
        },
        "levels_db": list(options.levels_db),
        "snr": "as the WFDB program nst has it: QRS amplitude squared over 8 against the noise within single seconds",
        "versions": versions(),
        "machine": f"{os.cpu_count()} cores, {options.jobs} processes",
        "kinds": kinds,
    }


def of_record(path: Path, options: argparse.Namespace) -> dict:
    """What is counted on the record at `path` by kind of noise and level, "none" included."""
    classifiers = {mode: load_classifier(Config(mode=mode, preset=options.preset)) for mode in MODES}
    record, annotation, marks = _shortened(path, options.minutes)
    normal = annotation.samples[aami_labels(annotation.symbols) == N_LABEL]
    power = noise.qrs_power(record.signal_mv, normal, record.fs_hz)
    scored = Scored(record, annotation, marks, classifiers)
    clean, results = scored.counts(record.signal_mv), {}
    for kind in noise.KINDS:
        if options.noise_dir is not None and kind in noise.RECORDS:
            added = noise.read_noise(options.noise_dir, kind, record.fs_hz)
        else:
            added = noise.generated(kind, len(record.signal_mv), record.fs_hz, (int(record.name),))
        results[kind] = {"none": clean}
        for level in options.levels_db:
            gain = noise.gain_for(level, power, noise.noise_power(added, record.fs_hz))
            noisy_mv = noise.with_noise(record.signal_mv, added, gain, record.fs_hz)
            results[kind][f"{level:g}"] = scored.counts(noisy_mv)
    print(record.name, flush=True)
    return results


def _shortened(path: Path, minutes: float) -> tuple[Record, Annotation, ec57.Marks]:
    """The first `minutes` of the record at `path`, its beats, and what EC57 makes of its annotation file."""
    record, annotation = read_record(path, Config.lead), read_beats(path, "atr")
    signal_mv = record.signal_mv[: round(60 * minutes * record.fs_hz)]
    kept = annotation.samples < len(signal_mv)
    beats = Annotation(annotation.samples[kept], annotation.symbols[kept], annotation.after_gap[kept])
    return Record(record.name, record.lead, record.fs_hz, signal_mv), beats, ec57.read_marks(path, "atr", record.fs_hz)


class Scored:
    """One record with its references; `counts` labels it with other signals in the place of its own."""

    def __init__(self, record: Record, annotation: Annotation, marks: ec57.Marks, classifiers: dict[str, Classifier]):
        self._record, self._annotation, self._marks, self._classifiers = record, annotation, marks, classifiers
        self._labels = aami_labels(annotation.symbols)
        length = len(record.signal_mv)
        noisy = noise.noisy_samples(length, record.fs_hz)
        learning = np.arange(length) < noise.LEARNING_S * record.fs_hz
        self._masks = {"noisy": noisy, "between": ~noisy & ~learning}

    def counts(self, signal_mv: np.ndarray) -> dict:
        """By part: of each mode labels and probabilities at the reference R-peaks, of the chain EC57's matrix."""
        record = Record(self._record.name, self._record.lead, self._record.fs_hz, signal_mv)
        found: dict = {part: {} for part in PARTS}
        for mode, classifier in self._classifiers.items():
            proba, *_ = probabilities(record, self._annotation, classifier, watched(record))
            for part in PARTS:
                inside = self._masks[part][self._annotation.samples]
                found[part][mode] = (self._labels[inside], proba[inside].astype(np.float32))
        test = self._chain(record)
        for part in PARTS:
            found[part]["chain"] = ec57.compare(
                self._marks, test, record.fs_hz, len(signal_mv), stretches(self._masks[part])
            )[0]
        return found

    def _chain(self, record: Record) -> ec57.Marks:
        samples = causal_r_peaks(record.signal_mv, record.fs_hz)
        beats = Annotation(samples, np.full(len(samples), ""), np.zeros(len(samples), bool))
        proba, *_ = probabilities(record, beats, self._classifiers["causal"], watched(record))
        labels = proba.argmax(axis=1)
        return ec57.Marks(samples.tolist(), [CLASSES[label] for label in labels])


# Scores --------------------------------------------------------------------------------------------------------------


def summed(counted: Sequence[dict]) -> dict:
    """Scores over all beats of what was counted on several records, by part."""
    result: dict = {}
    for part in PARTS:
        result[part] = {mode: mode_scores([one[part][mode] for one in counted]) for mode in MODES}
        result[part]["chain"] = chain_scores(sum(one[part]["chain"] for one in counted))
    return result


def mode_scores(beats: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict:
    """Accuracy, n, Se, +P and F1 of N, S and V, and calibration, of labels and probabilities by record."""
    labels, proba = (np.concatenate(parts) for parts in zip(*beats))
    metrics = class_metrics(confusion(labels, proba.argmax(axis=1)))
    found = calibration(labels, proba) if len(labels) else {"accuracy": None, "confidence": None, "ece": None}
    return {"n": len(labels), **{name: found[name] for name in ("accuracy", "confidence", "ece")}} | {
        name: metrics[name] for name in "NSV"
    }


def chain_scores(matrix: np.ndarray) -> dict:
    """Se, +P and F1 of QRS, VEB and SVEB as fractions, of an EC57 matrix over records."""
    counts = ec57.measures(matrix, aggregate=True)
    result = {}
    for beats in ("qrs", "veb", "sveb"):
        se, ppv = (_fraction(*counts[f"{beats}_{rate}"]) for rate in ("se", "ppv"))
        f1 = None if se is None or ppv is None else 2 * se * ppv / (se + ppv) if se + ppv else 0.0
        result[beats] = {"n": counts[f"{beats}_se"][1], "se": se, "ppv": ppv, "f1": f1}
    return result


def _fraction(right: int, of: int) -> float | None:
    return right / of if of else None


def table(report: dict, part: str = "noisy") -> list[str]:
    """Markdown lines: one row a kind of noise and level, of the noisy segments or those "between" them."""
    header = ["noise", "SNR dB", *(f"{mode} {column}" for mode in MODES for column in ("S F1 %", "V F1 %", "ECE %"))]
    header += ["QRS Se %", "QRS +P %", "SVEB F1 %", "VEB F1 %"]
    rows: list[list[str]] = []
    for kind, levels in report["kinds"].items():
        for level, found in levels.items():
            if level == "none" and rows:
                continue  # the same for all kinds
            one = found[part]
            cells = [percent(value) for mode in MODES for value in (
                one[mode]["S"]["f1"], one[mode]["V"]["f1"], one[mode]["ece"]
            )]  # fmt: skip
            cells += [percent(one["chain"]["qrs"][rate], 2) for rate in ("se", "ppv")]
            cells += [percent(one["chain"][beats]["f1"]) for beats in ("sveb", "veb")]
            rows.append(["none" if level == "none" else kind, level if level != "none" else "-", *cells])
    return markdown_table(header, rows)


draw = noise_figure
