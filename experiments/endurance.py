"""Does a stream keep working: a day of signal through one BeatStream, its memory and labels by hour.

The network is the pretrained causal `full` one, the signals are records of DS2, lead MLII, one after another and again
from the first, cut so that each round meets the detector's steps at the same samples. Each is compared with the last:
the first one lacks a past, and the template of a rare shape is remembered for hours, but then labels must be equal.
Beats are kept in a table that is made before the stream starts. Takes some minutes.
"""

import argparse
from collections.abc import Sequence
from time import process_time

import numpy as np
import torch

from config import CLASSES, DS2, Config
from deep_ecg.labelling.stream import BeatStream
from deep_ecg.networks.classifier import Classifier, load_classifier
from deep_ecg.records.database import real_source
from deep_ecg.records.wfdb_files import Record, read_record
from deep_ecg.system.machine import rss_mb, versions
from deep_ecg.system.text import markdown_table, number

REPORT = "endurance.json"
HOURS = 24.0
RECORDS = DS2[:8]  # four hours a round
CHUNK_S = 1.0
WHOLE_S = 1.0  # a round is a multiple of it, as it is of what the detector looks at once
MOST_BEATS_PER_S = 8  # beats lie no closer than 0.12 s


def add_options(parser: argparse.ArgumentParser):
    """How long the stream is."""
    parser.add_argument("--hours", type=float, default=HOURS, help=f"of signal (default {HOURS:g})")


def run(options: argparse.Namespace) -> dict:
    """The report on the records of DS2."""
    torch.set_num_threads(1)
    source = real_source(Config())
    classifier = load_classifier(Config(mode="causal", preset="full"))
    return measure(classifier, [read_record(source.folder / name, Config.lead) for name in RECORDS], options.hours)


def measure(classifier: Classifier, records: Sequence[Record], hours: float) -> dict:
    """The report: `records`, all at one rate, replayed in rounds as often as they fit into `hours`, at least twice."""
    signal_mv, fs_hz = np.concatenate([record.signal_mv for record in records]), records[0].fs_hz
    signal_mv = signal_mv[: len(signal_mv) - len(signal_mv) % round(WHOLE_S * fs_hz)]
    count = max(round(hours * 3600 * fs_hz / len(signal_mv)), 2)
    stream, step = BeatStream(classifier, fs_hz), round(CHUNK_S * fs_hz)
    most = round(MOST_BEATS_PER_S * len(signal_mv) / fs_hz)
    kept = np.full((count, most, 1 + len(CLASSES)), np.nan)
    told, used_mb, started_s = [], [], process_time()
    for i, rows in enumerate(kept):
        chunks_mv = (signal_mv[at : at + step] for at in range(0, len(signal_mv), step))
        beats = 0
        for beats, beat in enumerate((beat for chunk_mv in chunks_mv for beat in stream.push(chunk_mv)), 1):
            rows[beats - 1] = beat.sample - i * len(signal_mv), *beat.proba
        told.append(rows[:beats])
        used_mb.append(round(rss_mb(), 1))
    work_s = process_time() - started_s
    return {
        "records": [record.name for record in records],
        "round_hours": round(len(signal_mv) / fs_hz / 3600, 2),
        "rounds": [_summary(rows, told[-1]) | {"memory_mb": held_mb} for rows, held_mb in zip(told, used_mb)],
        "times_real_time": round(count * len(signal_mv) / fs_hz / work_s),
        "versions": versions(),
    }


def _summary(rows: np.ndarray, last: np.ndarray) -> dict:
    """One round against the last: of each beat its sample from the round's start on and its probabilities."""
    _, own, other = np.intersect1d(rows[:, 0], last[:, 0], return_indices=True)
    mine, theirs, labels = rows[own, 1:], last[other, 1:], rows[:, 1:].argmax(axis=1)
    return {
        "beats": len(rows),
        "counts": {name: int((labels == i).sum()) for i, name in enumerate(CLASSES)},
        "r_peaks_differ": len(rows) + len(last) - 2 * len(own),
        "labels_differ": int((mine.argmax(axis=1) != theirs.argmax(axis=1)).sum()),
        "largest_difference": float(np.abs(mine - theirs).max(initial=0.0)),
    }


def table(report: dict) -> list[str]:
    """Markdown lines: one row a round."""
    header = ["after h", "memory", "beats", "R-peaks that differ from the last round", "labels that differ"]
    header += ["largest difference of a probability"]
    rows = [
        [
            f"{(i + 1) * report['round_hours']:.1f}",
            f"{one['memory_mb']:.0f} MB",
            *(number(one[name]) for name in ("beats", "r_peaks_differ", "labels_differ")),
            f"{one['largest_difference']:.0e}",
        ]
        for i, one in enumerate(report["rounds"])
    ]
    return markdown_table(header, rows)
