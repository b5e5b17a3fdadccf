"""The signal of a long record, which is read in parts and never held as a whole."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np

HELD_SAMPLES = 2**22  # a signal of no more is held: some hours of ECG
READ_SAMPLES = 2**18  # of a longer one, read at once


@dataclass(frozen=True)
class LongSignal:
    """A signal of `length` samples in millivolts, of which `read` gives those from one to another, (n,) float64.

    It stands for an array that is asked for its length and for stretches, and NumPy's functions take all of it. What
    cannot be read raises DeepECGError then.
    """

    length: int
    read: Callable[[int, int], np.ndarray]

    def as_array(self) -> np.ndarray:
        """The signal under the type that it stands for."""
        return cast(np.ndarray, self)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, places: slice) -> np.ndarray:
        first, last, step = places.indices(self.length)
        return self.read(first, last)[::step] if first < last else np.zeros(0)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def pieces(signal_mv: np.ndarray, size: int, first: int = 0) -> Iterator[np.ndarray]:
    """The signal (n,) from sample `first` on in pieces of `size` samples, of which the last one may be shorter."""
    block = max(READ_SAMPLES // size, 1) * size
    for start in range(first, len(signal_mv), block):
        block_mv = signal_mv[start : start + block]
        yield from (block_mv[at : at + size] for at in range(0, len(block_mv), size))


def around(signal_mv: np.ndarray, sample: int, before: int, after: int) -> np.ndarray:
    """The samples of `signal_mv` (n,) from `before` of `sample` up to `after` it; its ends last for ever, (m,)."""
    first = max(sample - before, 0)
    part_mv = signal_mv[first : sample + after + 1]
    return part_mv.take(np.arange(sample - before - first, sample + after + 1 - first), mode="clip")
