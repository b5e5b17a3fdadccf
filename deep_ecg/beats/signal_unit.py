"""Whether the numbers of a signal are millivolts, from the numbers themselves: counts of a converter are not.

Heights are compared with heights of the same signal alone, so that the unit matters only where a number is held to be
no sample at all: beyond LIMIT_MV.
"""

import numpy as np

LIMIT_MV = 1e4  # beyond it there are no millivolts of a heart and of electrodes
LIMIT = 1e9  # a number beyond it is none of any converter
BLOCK_S = 0.25
BLOCKS = 8  # of samples that change, from the start on
RANK = 5  # of their ranges in rising order, from 0: two blocks with a spike do not matter
WIDEST_MV = 50.0  # range in a block: no ECG in millivolts has a wider one
GROWTH = 8.0  # times the largest number so far: what is beyond LIMIT_MV but no larger belongs to the signal
BEYOND_S = 2.0  # so long beyond LIMIT_MV without a break, and not at one value


class SignalUnit:
    """Tells which samples of one lead, in chunks of any size, are numbers of its signal; decided from the past alone.

    At first the limit is LIMIT_MV, but for a signal that begins beyond it or grows so far. It is lifted to LIMIT for
    good where the first BLOCKS blocks are wider than WIDEST_MV or all beyond LIMIT_MV, or BEYOND_S are so later.
    """

    def __init__(self, fs_hz: float):
        self._block, self._beyond = round(BLOCK_S * fs_hz), round(BEYOND_S * fs_hz)
        self._ranges: list[float] = []
        self._count = 0  # samples of the block
        self._low = self._high = 0.0
        self._seen_mv = False  # whether a sample within LIMIT_MV has come
        self._largest = 0.0  # of the usable samples, without its sign, until it is decided
        self._run = 0  # samples beyond it in a row
        self._run_low = self._run_high = 0.0
        self.lifted = False

    def missing(self, chunk: np.ndarray) -> np.ndarray:
        """Which of the next samples (n,) are no numbers of the signal, (n,) bool."""
        missing = np.zeros(len(chunk), bool)
        start = 0
        while start < len(chunk) and not self._decided:
            part = chunk[start : start + self._block - self._count]
            missing[start : start + len(part)] = self._missing_of_block(part)
            start += len(part)
        rest = chunk[start:]
        sizes = np.abs(rest)
        if not self.lifted and ((sizes > LIMIT_MV) & (sizes <= LIMIT)).any():
            missing[start:] = [self._is_missing(sample) for sample in rest.tolist()]
        elif len(rest):
            missing[start:] = ~(sizes <= (LIMIT if self.lifted else LIMIT_MV))
            self._run = 0
        return missing

    @property
    def _decided(self) -> bool:
        return self.lifted or len(self._ranges) == BLOCKS

    def _missing_of_block(self, part: np.ndarray) -> bool | list[bool]:
        """Which of the next samples (n,), n > 0, no more than the block lacks, are no numbers of the signal."""
        size = float(np.abs(part).max())
        if not size <= LIMIT_MV:
            return [self._is_missing(sample) for sample in part.tolist()]
        self._run, self._seen_mv, self._largest = 0, True, max(self._largest, size)
        self._take(float(part.min()), float(part.max()), len(part))
        return False

    def _is_missing(self, sample: float) -> bool:
        size = abs(sample)
        if not size <= LIMIT:
            self._run = 0
            return True
        if size > LIMIT_MV:
            self._count_beyond(sample)
        else:
            self._run, self._seen_mv = 0, True
        if self._decided:
            return size > LIMIT_MV and not self.lifted
        if self._seen_mv and size > max(LIMIT_MV, GROWTH * self._largest):
            return True
        self._largest = max(self._largest, size)
        self._take(sample, sample)
        return False

    def _count_beyond(self, sample: float):
        if self._run == 0:
            self._run_low = self._run_high = sample
        self._run += 1
        self._run_low, self._run_high = min(self._run_low, sample), max(self._run_high, sample)
        if self._run >= self._beyond and self._run_high > self._run_low:
            self.lifted = True

    def _take(self, low: float, high: float, count: int = 1):
        """Takes `count` usable samples into their block, and a whole block that changes into the ranges."""
        if self._count == 0:
            self._low, self._high = low, high
        self._low, self._high = min(self._low, low), max(self._high, high)
        self._count += count
        if self._count < self._block:
            return
        self._count = 0
        if self._high > self._low:
            self._ranges.append(self._high - self._low)
        if len(self._ranges) == BLOCKS:
            self.lifted = not self._seen_mv or sorted(self._ranges)[RANK] > WIDEST_MV
