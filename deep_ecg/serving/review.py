"""Labels that a reader has changed: who changed what and when, and the record's beats as they are then.

The log, NAME.jsonl, is the truth: a line for each change, replaced as a whole with every one, so that a server that is
killed loses no change that it has confirmed. The annotation file follows from it.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np

from config import CLASSES
from deep_ecg.beats.signal_quality import NOISY, STATES
from deep_ecg.labelling.annotations import write_annotations
from deep_ecg.labelling.labelled import Labelled
from deep_ecg.labelling.summary import summarise
from deep_ecg.report.episodes import as_json, episodes_of
from deep_ecg.serving.limits import Refused
from deep_ecg.serving.stored import Stored
from deep_ecg.system.files import write_text

LOG, ANNOTATIONS = "review.jsonl", "beats.rev"
MOST_CHANGES = 10_000
MOST_NAME = 80


class Review:
    """The labels of the record `stored` after all changes of its log."""

    def __init__(self, stored: Stored):
        self.stored, self.entries = stored, read_log(stored.folder)

    @property
    def version(self) -> int:
        """How many lines the log has: it grows with every change."""
        return len(self.entries)

    @cached_property
    def labels(self) -> np.ndarray:
        """Index into CLASSES of each beat, (beats,), and -1 where nobody has changed it."""
        labels = np.full(len(self.stored.labelled.samples), -1)
        for entry in in_force(self.entries):
            labels[self._beats(entry)] = CLASSES.index(entry["to"])
        return labels

    @cached_property
    def labelled(self) -> Labelled:
        """The record with the labels as they are now; a changed one is sure."""
        before, changed = self.stored.labelled, self.labels >= 0
        proba = np.where(changed[:, None], np.eye(len(CLASSES), dtype=np.float32)[self.labels], before.proba)
        seen = changed & ~before.readable  # by who changed it, if not by the network
        signal = np.where(seen, STATES[NOISY], np.asarray(before.signal))
        return replace(before, proba=proba, signal=signal)

    def told(self) -> dict:
        """Summary, counts, shapes and episodes as they are now."""
        labelled, stored = self.labelled, self.stored
        series = stored.recording(labelled).series
        return {
            "version": self.version,
            "changed": int((self.labels >= 0).sum()),
            "summary": summarise(labelled),
            "shapes": [self._shape(number) for number in [*range(len(stored.means_mv)), -1]],
            "episodes": as_json(episodes_of(series), series),
            "log": self.entries[-20:],
            "can_undo": bool(in_force(self.entries)),
        }

    def change(self, asked: dict):
        """Takes the change that is `asked` into the log, and writes the annotation file. Refused where it is none.

        `asked` holds the `version` that its asker has seen, who that is ("by"), and what to change: "shape" or
        "sample" and the class "to", or "undo".
        """
        if asked.get("version") != self.version:
            raise Refused(409, "somebody has changed this record since: look at it again")
        if self.version >= MOST_CHANGES:
            raise Refused(413, f"a record can be changed {MOST_CHANGES:,} times: begin anew with the reviewed file")
        entry = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "by": _name(asked.get("by"))}
        entry |= self._undone() if asked.get("undo") is True else self._asked(asked)
        lines = [json.dumps(one, ensure_ascii=True) for one in [*self.entries, entry]]
        write_text(self.stored.folder / LOG, "\n".join(lines) + "\n")
        after = Review(self.stored)
        after.write()
        self.__dict__ = after.__dict__

    def write(self):
        """Writes the annotation file of the labels as they are now; without a change in force, there is none."""
        path = self.stored.folder / ANNOTATIONS
        if not in_force(self.entries):
            path.unlink(missing_ok=True)
        elif len(self.labels):
            write_annotations(path, self.labelled)

    def _asked(self, asked: dict) -> dict:
        to, which = asked.get("to"), [name for name in ("shape", "sample") if name in asked]
        if to not in CLASSES or len(which) != 1 or type(asked[which[0]]) is not int:
            raise Refused(422, f'a change needs "shape" or "sample", a number, and "to", one of {", ".join(CLASSES)}')
        entry = {which[0]: asked[which[0]], "to": to}
        beats = self._beats(entry)
        if not beats.any():
            raise Refused(422, f"there is no beat of {which[0]} {asked[which[0]]}")
        counts = np.bincount(self.labelled.predicted[beats], minlength=len(CLASSES))
        return entry | {"from": {name: int(count) for name, count in zip(CLASSES, counts) if count}}

    def _undone(self) -> dict:
        last = in_force(self.entries)[-1:]
        if not last:
            raise Refused(422, "there is no change to undo")
        return {"undo": last[0]["number"]}

    def _beats(self, entry: dict) -> np.ndarray:
        if "sample" in entry:
            return self.stored.labelled.samples == entry["sample"]
        return self.stored.shapes == entry["shape"]

    def _shape(self, number: int) -> dict:
        """A shape; -1 for the beats that are in none."""
        mine = self.stored.shapes == number
        counts = np.bincount(self.labelled.predicted[mine], minlength=len(CLASSES))
        mean_mv = self.stored.means_mv[number].tolist() if number >= 0 else []
        return {
            "shape": number,
            "beats": int(mine.sum()),
            "counts": {name: int(count) for name, count in zip(CLASSES, counts) if count},
            "mean_mv": [round(value, 3) for value in mean_mv],
            "first": int(self.stored.labelled.samples[mine][0]) if mine.any() else None,
        }


def in_force(entries: Sequence[dict]) -> list[dict]:
    """The changes that were not undone, each with its `number` in the log."""
    undone = {entry["undo"] for entry in entries if "undo" in entry}
    return [
        entry | {"number": number} for number, entry in enumerate(entries) if "to" in entry and number not in undone
    ]


def read_log(folder: Path) -> list[dict]:
    """All lines of the log of the record in `folder`."""
    path = folder / LOG
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _name(by: object) -> str:
    """Who changes something, as the log has it."""
    text = "".join(letter for letter in str(by or "") if letter.isprintable()).strip()
    return text[:MOST_NAME] or "unnamed"
