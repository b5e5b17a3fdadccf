"""Beats as arrays: what a network is fed, and with it the label of each beat and where it is from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from config import CLASSES

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
        return self.where(np.isin(self.records, records))

    def where(self, keep: np.ndarray) -> "Beats":
        """The beats for which `keep` (beats,) is True."""
        return Beats(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))


def concatenate(parts: Sequence[Beats]) -> Beats:
    """The beats of all `parts` in their order."""
    return Beats(*(np.concatenate([getattr(part, name) for part in parts]) for name in Beats.__dataclass_fields__))


def class_counts(beats: Beats) -> dict[str, int]:
    """Beats of each class, and in all."""
    counts = np.bincount(beats.labels, minlength=len(CLASSES))
    return {**{name: int(count) for name, count in zip(CLASSES, counts)}, "all": len(beats)}
