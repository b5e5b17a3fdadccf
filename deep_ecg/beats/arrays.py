"""Beats as arrays: what a network is fed, and with it the label of each beat and where it is from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np

from config import CLASSES
from deep_ecg.beats.shape import P_WAVE

BLOCK_BEATS = 4096  # of many beats on disk, so many are in memory at once


@dataclass(frozen=True)
class NetworkInputs:
    """What the network sees of the beats of one record, one row a beat, in order of time.

    windows (beats, CHANNELS, window_samples) float32, features (beats, len(FEATURES[mode])) float32, groups (beats,)
    int64 of beats of one shape (`templates.RunningTemplate`), rr_s (beats,) of `rhythm.rr_intervals`.
    """

    windows: np.ndarray
    features: np.ndarray
    groups: np.ndarray
    rr_s: np.ndarray

    def __len__(self) -> int:
        return len(self.features)

    @property
    def p_waves(self) -> np.ndarray:
        """How like that of the running template each beat's P wave is, (beats,) float32: the first of P_WAVE."""
        return self.features[:, -len(P_WAVE)]


def each(values: np.ndarray) -> Iterator[Any]:
    """The `values` (n,) one after another, as Python's own numbers, of which few are there at once."""
    blocks = (values[start : start + BLOCK_BEATS].tolist() for start in range(0, len(values), BLOCK_BEATS))
    return chain.from_iterable(blocks)


@dataclass(frozen=True)
class Beats:
    """Beats of any number of records with their labels, one row a beat.

    windows, features, groups and rr_s are those of `NetworkInputs`; labels (beats,) int64 into CLASSES, records
    (beats,) names, samples (beats,) int64 R-peak samples at the record's own rate.
    """

    windows: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    records: np.ndarray
    samples: np.ndarray
    groups: np.ndarray
    rr_s: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, records: Sequence[str]) -> "Beats":
        """The beats of the records named."""
        return self.where(rows_of(self.records, records))

    def where(self, keep: np.ndarray) -> "Beats":
        """The beats for which `keep` (beats,) is True, or whose rows it numbers."""
        return Beats(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))


def stretches_of(records: np.ndarray) -> list[tuple[str, int, int]]:
    """The stretches of `records` (beats,) of one name: name, first row, and the one after the last.

    They are looked at a block at a time, for they may lie on disk.
    """
    borders = [0] if len(records) else []
    for start in range(0, len(records), BLOCK_BEATS):
        block = records[start : start + BLOCK_BEATS + 1]
        borders += (start + 1 + np.flatnonzero(block[1:] != block[:-1])).tolist()
    return [(str(records[first]), first, end) for first, end in pairwise([*borders, len(records)])]


def rows_of(records: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The numbers of the rows of `records` (beats,) that are among the `names`, (rows,) int64, rising."""
    wanted = set(names)
    spans = [np.arange(first, end) for name, first, end in stretches_of(records) if name in wanted]
    return np.concatenate(spans) if spans else np.zeros(0, np.int64)


def concatenate(parts: Sequence[Beats]) -> Beats:
    """The beats of all `parts` in their order."""
    return Beats(*(np.concatenate([getattr(part, name) for part in parts]) for name in Beats.__dataclass_fields__))


def class_counts(beats: Beats) -> dict[str, int]:
    """Beats of each class, and in all."""
    counts = np.bincount(beats.labels, minlength=len(CLASSES))
    return {**{name: int(count) for name, count in zip(CLASSES, counts)}, "all": len(beats)}
