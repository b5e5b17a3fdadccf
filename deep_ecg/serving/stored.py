"""A labelled record in a visitor's folder: its signal, its beats, and what is told of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time
from pathlib import Path

import numpy as np

from deep_ecg.labelling.labelled import Labelled
from deep_ecg.labelling.results import recording_of
from deep_ecg.labelling.signal_state import Stretch
from deep_ecg.records.any_record import Record
from deep_ecg.report.beat_series import RhythmEpisode
from deep_ecg.report.recording import Recording
from deep_ecg.report.shapes import Shape, shapes_of
from deep_ecg.system.files import atomic_file
from deep_ecg.system.json_files import read_json, write_json

ABOUT, ERROR = "record.json", "error.json"  # one of them is there when the labelling has ended
MADE_OF = "made-of.json"  # says of how many changes the results are made: they are all there when it is
BEATS, SIGNAL = "beats.npz", "signal.npy"
SHOWN = "shown.npy"  # the signal that the beats were labelled from, where other leads took over
ARRAYS = ("samples", "proba", "signal", "after_gap", "groups")  # of `Labelled`
STRETCHES = ("silent", "unread", "taken_over")
TEXTS = ("synthetic", "unit", "paced", "trained_on", "kind")


@dataclass(frozen=True)
class Stored:
    """The labelled record in `folder`: `shapes` (beats,) is the shape of each, `means_mv` (shapes, samples) of each."""

    folder: Path
    about: dict
    labelled: Labelled
    shapes: np.ndarray
    means_mv: np.ndarray

    @classmethod
    def load(cls, folder: Path) -> "Stored":
        """Reads what `store` has written."""
        about = read_json(folder / ABOUT)
        with np.load(folder / BEATS) as file:
            beats = {name: file[name] for name in file.files}
        signal_mv = np.load(folder / SIGNAL, mmap_mode="r")
        told = {name: about[name] for name in TEXTS} | {name: beats[name] for name in ARRAYS}
        told |= {name: [Stretch(*one) for one in about[name]] for name in STRETCHES}
        record = Record(about["title"], about["lead"], about["fs_hz"], signal_mv)
        labelled = Labelled(
            record,
            reference=None,
            leads=beats.get("leads"),
            others=_others(folder, record, told["taken_over"]),
            rhythm=None if about["rhythm"] is None else [RhythmEpisode(*one) for one in about["rhythm"]],
            started=_time(about["started"]),
            **told,
        )
        return cls(folder, about, labelled, beats["shapes"], beats["means_mv"])

    def recording(self, labelled: Labelled) -> Recording:
        """`labelled`, which is this record with other labels, as a report takes it."""
        return recording_of(labelled, None, self.about["network"], None)


def store(folder: Path, labelled: Labelled, network: str):
    """Writes a labelled record into `folder`; `network` labelled it. The file ABOUT, which tells of it, comes last."""
    recording = recording_of(labelled, None, network, None)
    shapes: list[Shape] = []
    shape_of_beat = np.empty(0, int)
    if labelled.groups is not None and len(labelled.samples):
        shapes, shape_of_beat = shapes_of(recording.series, recording.shown_mv, labelled.groups, recording.leads)
    with atomic_file(folder / SIGNAL) as temporary:
        np.save(temporary, np.asarray(labelled.record.signal_mv, np.float32))
    if labelled.others:
        with atomic_file(folder / SHOWN) as temporary:
            np.save(temporary, np.asarray(labelled.shown_mv, np.float32))
    with atomic_file(folder / BEATS) as temporary:
        means_mv = np.array([one.mean_mv for one in shapes], np.float32)
        arrays = {name: getattr(labelled, name) for name in ARRAYS}
        arrays |= {} if labelled.leads is None else {"leads": labelled.leads}
        np.savez(temporary, shapes=shape_of_beat, means_mv=means_mv, **arrays)
    rhythm = labelled.rhythm
    about = {
        "title": labelled.record.name,
        "lead": labelled.record.lead,
        "fs_hz": labelled.record.fs_hz,
        "length": len(labelled.record.signal_mv),
        "network": network,
        **{name: [(one.first, one.last, one.why) for one in getattr(labelled, name)] for name in STRETCHES},
        "rhythm": None if rhythm is None else [(one.first, one.last, one.kind) for one in rhythm],
        "started": None if labelled.started is None else labelled.started.isoformat(),
        **{name: getattr(labelled, name) for name in TEXTS},
    }
    write_json(folder / ABOUT, about)


def _others(folder: Path, record: Record, taken_over: Sequence[Stretch]) -> list[Record]:
    """The leads that took over, of which `store` has kept what they show then."""
    if not (folder / SHOWN).is_file():
        return []
    shown_mv = np.load(folder / SHOWN, mmap_mode="r")
    return [replace(record, lead=lead, signal_mv=shown_mv) for lead in dict.fromkeys(one.why for one in taken_over)]


def _time(text: str | None) -> datetime | time | None:
    """A time, or a date and time, as `isoformat` has written it."""
    if text is None:
        return None
    return datetime.fromisoformat(text) if "T" in text else time.fromisoformat(text)


def trace(signal_mv: np.ndarray, first: int, last: int, points: int) -> dict:
    """Samples `first` to `last` in at most so many `points`: lowest and highest value of each in 1/1000 mV.

    `step` samples are in a point. Where nothing was recorded, both are None.
    """
    first, last = max(first, 0), min(last, len(signal_mv))
    step = max(-(-(last - first) // max(points, 1)), 1)
    part_mv = np.asarray(signal_mv[first:last], float)
    padded_mv = np.pad(part_mv, (0, -len(part_mv) % step), constant_values=np.nan).reshape(-1, step)
    low_mv, high_mv = np.fmin.reduce(padded_mv, axis=1), np.fmax.reduce(padded_mv, axis=1)
    return {"first": first, "step": step, "low": in_thousandths(low_mv), "high": in_thousandths(high_mv)}


def in_thousandths(signal_mv: np.ndarray) -> Sequence[int | None]:
    """`signal_mv` (n,) in whole 1/1000 mV; None where it is lost."""
    return [round(value * 1000) if np.isfinite(value) else None for value in signal_mv.tolist()]
