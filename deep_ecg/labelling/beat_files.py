"""The files of a stream, which grow as its beats are told: NAME.csv line by line, NAME.pred every few seconds."""

import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from config import CLASSES
from deep_ecg.labelling.annotations import encoded_annotations
from deep_ecg.labelling.labelled import Labelled, class_counts, intervals_after
from deep_ecg.labelling.signal_state import Stretch, unread_share
from deep_ecg.labelling.stream import Beat
from deep_ecg.labelling.summary import summary_of
from deep_ecg.labelling.table import table_header, table_lines
from deep_ecg.labelling.trust import LONGEST_RR_MS, RATE_BEATS, Confidence, is_sure, short_rr, trust_of
from deep_ecg.records.wfdb_files import Record
from deep_ecg.system.files import GrowingFile, atomic_file

SAVE_S = 10.0  # the annotation file is at most so much behind the table


class BeatFiles:
    """Writes the beats of a stream into `out` as `predict` writes them, so that they stay however the process ends.

    The table has its final name from the first beat on and grows while the stream runs; each of its lines is on disk,
    whole, before anything else happens. The annotation file is replaced by a longer one every SAVE_S and in `close`;
    kept for that are its own 2 to 4 bytes a beat.
    """

    def __init__(self, record: Record, out: Path, synthetic: bool, min_confidence: float):
        self.annotations = out / f"{record.name}.pred"
        self.table = out / f"{record.name}{'-SYNTHETIC' * synthetic}.csv"
        self.beats = 0
        self._record, self._synthetic, self._min_confidence = record, synthetic, min_confidence
        self._counts, self._not_classified = np.zeros(len(CLASSES), int), 0
        self._wrong, self._unsure = 0.0, 0  # beats: to be expected wrong, and below trust.SURE
        self._poor, self._alone, self._short_rr = 0, 0, 0  # as `trust_of` and summaries have them
        self._told_last: int | None = None  # R-peak of the latest beat in the table
        self._rr_ms: deque[float] = deque(maxlen=RATE_BEATS)  # the latest known intervals
        self._rr_counts = np.zeros(round(LONGEST_RR_MS) + 1, int)  # known intervals of so many ms
        self._unreadable = 0
        self._file: GrowingFile | None = None
        self._encoded = b""  # the annotation file, up to the beat at sample `_last`
        self._last: int | None = None
        self._unsaved: list[Beat] = []  # beats that it lacks
        self._saved_s = float("-inf")

    def add(self, beats: Sequence[Beat]):
        """Writes the next `beats`, of which there may be none. Raises DeepECGError where they cannot be written."""
        if beats:
            self._append(self._labelled(beats))
            self._alone += sum(beat.alone for beat in beats)
            self._poor += sum(beat.quality == "noisy" for beat in beats)
            self._unsaved += beats
        if self._unsaved and time.monotonic() - self._saved_s >= SAVE_S:
            self._save()

    def close(self, ended: bool):
        """Brings both files up to date; those of a stream that has `ended` without a beat are an empty table.

        Of one that was broken off before its first beat there are none.
        """
        if self._unsaved:
            self._save()
        elif self._file is None:
            if ended:
                self._append(self._labelled([]))
            else:
                self.table.unlink(missing_ok=True)
            self.annotations.unlink(missing_ok=True)  # it would tell of another signal
        if self._file is not None:
            self._file.close()

    def summary(
        self, unit: str | None = None, unread: Sequence[Stretch] = (), silent: Sequence[Stretch] = (), length: int = 1
    ) -> dict:
        """What `summarise` tells of a record of so many samples, and the files; the others as in `Labelled`."""
        not_classified = self._not_classified if self._min_confidence else None
        files = {"files": [str(self.annotations), str(self.table)]}
        readable = self.beats - self._unreadable
        parts = (self._wrong, self._unsure, self._poor, self._alone)
        wrong, unsure, poor, alone = (part / max(readable, 1) for part in parts)
        lost = unread_share(list(unread), list(silent), length)
        confidence = Confidence(readable, wrong, unsure)
        trust = trust_of(confidence, self._rate_per_min, lost, poor_share=poor, alone_share=alone)
        summary = summary_of(
            self._record,
            self._counts,
            trust,
            self.beats,
            not_classified,
            unit=unit,
            silent=silent,
            unreadable=self._unreadable,
            unread=unread,
            short_rr=self._short_rr,
        )
        return summary | files

    @property
    def _rate_per_min(self) -> float | None:
        """By the median of all known intervals, to the ms; None where there is none."""
        up_to = np.cumsum(self._rr_counts)
        return 60_000 / max(int(np.searchsorted(up_to, up_to[-1] / 2)), 1) if up_to[-1] else None

    def _labelled(self, beats: Sequence[Beat]) -> Labelled:
        samples = np.array([beat.sample for beat in beats], int)
        proba = np.array([beat.proba for beat in beats], float).reshape(-1, len(CLASSES))
        signal, gaps = (
            np.array([beat.quality for beat in beats], "U10"),
            np.array([beat.after_gap for beat in beats], bool),
        )
        record, confidence = self._record, self._min_confidence
        return Labelled(record, samples, proba, None, self._synthetic, confidence, signal=signal, after_gap=gaps)

    def _append(self, labelled: Labelled):
        intervals_ms = intervals_after(labelled, self._told_last)
        lines = table_lines(labelled, intervals_ms, self._rr_ms)
        known_ms = intervals_ms[np.isfinite(intervals_ms)]
        self._rr_ms.extend(known_ms.tolist())
        self._rr_counts += np.bincount(np.round(known_ms).astype(int), minlength=len(self._rr_counts))
        self._short_rr += short_rr(intervals_ms)
        self._told_last = int(labelled.samples[-1]) if len(labelled.samples) else self._told_last
        if self._file is None:
            self._file = GrowingFile(self.table)
            lines = [table_header(self._min_confidence), *lines]
        self._file.append("".join(f"{line}\n" for line in lines))
        self.beats += len(labelled.samples)
        self._counts += class_counts(labelled)
        readable = labelled.readable
        self._wrong += float((1 - labelled.proba[readable].max(axis=1)).sum())
        self._unsure += int((~is_sure(labelled.proba[readable])).sum())
        self._unreadable += int((~readable).sum())
        self._not_classified += int((readable & ~labelled.classified).sum())

    def _save(self):
        with atomic_file(self.annotations) as temporary:
            encoded = encoded_annotations(self._labelled(self._unsaved), temporary.parent, after=self._last)
            self._encoded = self._encoded[:-2] + encoded  # without the end mark
            self._last, self._unsaved, self._saved_s = self._unsaved[-1].sample, [], time.monotonic()
            temporary.write_bytes(self._encoded)
