"""Where the signal of a lead is lost: missing samples, and stretches without any change.

The same rules hold for whole records and for live streams, in whatever chunks these come.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from deep_ecg.beats.signal_unit import SignalUnit

MISSING_S = 0.03  # a longer stretch of missing samples, or one of FLAT_S without any change, is lost signal: MIT-BIH's
FLAT_S = 0.5  # own records do not stay at one value for 0.03 s, but for one stretch of 0.7 s in record 116
BLOCK_PARTS = 256  # of an array that grows
UNIT = "its numbers are no millivolts: unit and offset were taken from the signal itself"


class SignalWatch:
    """Keeps watch over the samples of one lead, in chunks of any size: fills what is missing, tells what is lost.

    A sample is lost where more than MISSING_S up to it were missing, or FLAT_S and more up to it stayed at one value
    (electrode off, saturation). Whether a sample is lost depends on the past alone. The stretches are kept until
    `forget`, for `lost_between`.

    `fault` tells why the latest sample is lost, None where it is not: "missing": no numbers; "flat" or "saturated": no
    change, the latter at the highest or lowest value so far. `changes` are those of it in the latest chunk: the sample
    from which on it is another, and what it is then.
    """

    def __init__(self, fs_hz: float):
        self._missing_limit, self._flat_limit = MISSING_S * fs_hz, FLAT_S * fs_hz
        self._unit = SignalUnit(fs_hz)
        self._pushed, self._last_mv = 0, 0.0
        self._missing_run, self._unchanged_run = 0, 0
        self._lowest_mv, self._highest_mv = math.inf, -math.inf
        self.fault: str | None = None
        self.changes: list[tuple[int, str | None]] = []
        self._starts: list[int] = []  # first and last samples of the lost stretches, rising
        self._ends: list[int] = []

    def __call__(self, chunk_mv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next samples (n,), n > 0, with each missing one replaced by the one before it, and which were missing.

        0 stands for what is missing at the very start.
        """
        missing = self._unit.missing(chunk_mv)
        filled_mv = _filled(chunk_mv, missing, self._last_mv)
        missing_runs = run_lengths(missing, self._missing_run)
        unchanged = filled_mv == np.concatenate(([self._last_mv], filled_mv[:-1]))
        unchanged_runs = run_lengths(unchanged, self._unchanged_run)
        self._note(missing_runs > self._missing_limit, unchanged_runs >= self._flat_limit, filled_mv)
        self._missing_run, self._unchanged_run = int(missing_runs[-1]), int(unchanged_runs[-1])
        self._lowest_mv = min(self._lowest_mv, float(filled_mv.min()))
        self._highest_mv = max(self._highest_mv, float(filled_mv.max()))
        self._last_mv = float(filled_mv[-1])
        self._pushed += len(chunk_mv)
        return filled_mv, missing

    @property
    def unit(self) -> str | None:
        """A line that says so where the signal's numbers are no millivolts; None where they can be."""
        return UNIT if self._unit.lifted else None

    @property
    def lost(self) -> list[tuple[int, int]]:
        """First and last sample of each lost stretch that is remembered."""
        return list(zip(self._starts, self._ends))

    def lost_between(self, earlier: int, later: int) -> bool:
        """Whether any sample after `earlier` and up to `later` is lost: there is no RR interval between the two."""
        place = bisect_right(self._ends, earlier)
        return place < len(self._ends) and self._starts[place] <= later

    def lost_within(self, first: int, last: int) -> list[tuple[int, int]]:
        """First and last sample of each lost stretch of which some lies from sample `first` to `last`."""
        places = slice(bisect_left(self._ends, first), bisect_right(self._starts, last))
        return list(zip(self._starts[places], self._ends[places]))

    def forget(self, before: int):
        """Drops what no question needs whose `later` is `before` or more: all that ended earlier but the last."""
        surplus = max(bisect_right(self._ends, before) - 1, 0)
        del self._starts[:surplus], self._ends[:surplus]

    def _note(self, missing: np.ndarray, flat: np.ndarray, filled_mv: np.ndarray):
        """Takes in which of the chunk's samples (n,) are lost because they are `missing`, or `flat`."""
        self.changes, lost = [], missing | flat
        if self.fault is None and not lost.any():
            return
        before = 0 if self.fault is None else 1 if self.fault == "missing" else 2
        kinds = np.where(missing, 1, np.where(flat, 2, 0))
        for at in np.flatnonzero(np.diff(kinds, prepend=before)).tolist():
            self.fault = (None, "missing", self._kind_of_flat(filled_mv[: at + 1]))[kinds[at]]
            self.changes.append((self._pushed + at, self.fault))
        self._keep(stretches(lost, self._pushed))

    def _kind_of_flat(self, filled_mv: np.ndarray) -> str:
        """What a stretch without change is that is one with the last of the chunk's samples so far."""
        low_mv, high_mv = min(self._lowest_mv, filled_mv.min()), max(self._highest_mv, filled_mv.max())
        return "saturated" if low_mv < high_mv and filled_mv[-1] in (low_mv, high_mv) else "flat"

    def _keep(self, lost: list[tuple[int, int]]):
        """Remembers the chunk's lost stretches, of which the first may go on with the latest."""
        if lost and self._ends and self._ends[-1] + 1 == lost[0][0]:
            self._ends[-1] = lost.pop(0)[1]
        self._starts += [first for first, _ in lost]
        self._ends += [last for _, last in lost]


def stretches(flags: np.ndarray, offset: int = 0) -> list[tuple[int, int]]:
    """First and last sample of each run of True in `flags` (n,), whose first sample is number `offset`."""
    edges = np.diff(flags, prepend=False, append=False).nonzero()[0] + offset
    return list(zip(edges[::2].tolist(), (edges[1::2] - 1).tolist()))


def widened(found: list[tuple[int, int]], before: int, after: int, length: int) -> list[tuple[int, int]]:
    """First place and end of what lies so far `before` and `after` each stretch `found` of a row of `length`, rising.

    Those that meet are one.
    """
    spans: list[tuple[int, int]] = []
    for first, last in found:
        meets = spans and first - before <= spans[-1][1]
        start = spans.pop()[0] if meets else max(first - before, 0)
        spans.append((start, min(last + 1 + after, length)))
    return spans


@dataclass(frozen=True)
class Runs:
    """A row of `length` numbers most of which are the same as the one before.

    Each of `values` (runs,) is that of the numbers from its place of `firsts` (runs,) on.
    """

    firsts: np.ndarray
    values: np.ndarray
    length: int

    @classmethod
    def of(cls, parts: Iterable[np.ndarray]) -> "Runs":
        """The row of which these are the `parts` (n,), of int8, one after another."""
        row = GrowingRuns()
        for part in parts:
            row.add(part)
        return row.runs()

    @classmethod
    def combined(cls, value: Callable[..., np.ndarray], *rows: "Runs") -> "Runs":
        """The row of the `value` that the numbers at the same places of several `rows` of one length make."""
        firsts = np.unique(np.concatenate([row.firsts for row in rows]))
        return cls(firsts, value(*(row[firsts] for row in rows)), rows[0].length)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, places: np.ndarray | slice) -> np.ndarray:
        at = np.arange(*places.indices(self.length)) if isinstance(places, slice) else places
        return self.values[np.searchsorted(self.firsts, at, side="right") - 1]

    def after(self, count: int) -> "Runs":
        """The row without its first `count` numbers."""
        kept = np.append(self.firsts[1:], self.length) > count
        return Runs(np.maximum(self.firsts[kept] - count, 0), self.values[kept], max(self.length - count, 0))

    def placed(self, first: int, length: int, outside: int) -> "Runs":
        """A row of `length` numbers, of which this one stands from place `first` on, and `outside` everywhere else."""
        firsts = np.concatenate(([0], self.firsts + first, [first + self.length]))
        values = np.concatenate(([outside], self.values, [outside])).astype(self.values.dtype)
        kept = np.diff(firsts, append=length) > 0
        return Runs(firsts[kept], values[kept], length)

    def stretches(self, flags: np.ndarray) -> list[tuple[int, int]]:
        """First and last place of each stretch of runs of which `flags` (runs,) is True."""
        edges = np.append(self.firsts, self.length).tolist()
        return [(edges[first], edges[last + 1] - 1) for first, last in stretches(flags)]

    def near(self, flags: np.ndarray, reach: int) -> "Runs":
        """A row of 1 within `reach` places of the runs of which `flags` (runs,) is True, 0 elsewhere."""
        spans = widened(self.stretches(flags), reach, reach, self.length)
        firsts = np.array([0, *(edge for span in spans for edge in span)])
        kept = np.diff(firsts, append=self.length) > 0
        return Runs(firsts[kept], np.arange(len(firsts))[kept] % 2, self.length)

    def counted(self, flags: np.ndarray, places: np.ndarray) -> np.ndarray:
        """How many numbers up to each of `places` (n,) are in runs of which `flags` (runs,) is True, (n,)."""
        before = np.append(0, np.cumsum(np.where(flags, np.diff(self.firsts, append=self.length), 0)))
        at = np.searchsorted(self.firsts, places, side="right") - 1
        return before[at] + np.where(flags[at], places - self.firsts[at] + 1, 0)


class Growing:
    """An array whose rows come a few at a time, kept in blocks: many small arrays take more room than they hold."""

    def __init__(self, empty: np.ndarray):
        self._blocks: list[np.ndarray] = [empty]
        self._latest: list[np.ndarray] = []

    def add(self, rows: np.ndarray):
        """The next rows (n, ...)."""
        self._latest.append(rows)
        if len(self._latest) == BLOCK_PARTS:
            self._blocks.append(np.concatenate(self._latest))
            self._latest = []

    def all(self) -> np.ndarray:
        """All of them."""
        return np.concatenate([*self._blocks, *self._latest])


class GrowingRuns:
    """A row of numbers, kept as `Runs` are, that is known a part at a time."""

    def __init__(self):
        self._firsts, self._values, self._length = Growing(np.zeros(0, np.int64)), Growing(np.zeros(0, np.int8)), 0

    def add(self, part: np.ndarray):
        """The next numbers (n,), of int8."""
        starts = np.flatnonzero(np.diff(part, prepend=-part[:1] - 1))
        self._firsts.add(starts + self._length)
        self._values.add(part[starts])
        self._length += len(part)

    def runs(self) -> Runs:
        """The row as far as it is known."""
        return Runs(self._firsts.all(), self._values.all(), self._length)


def run_lengths(flags: np.ndarray, run: int) -> np.ndarray:
    """How many of `flags` (n,) up to each are True in a row, (n,); `run` came before the first."""
    if not flags.any():
        return np.zeros(len(flags), np.int64)
    at = np.arange(1, len(flags) + 1)
    return at - np.maximum.accumulate(np.where(flags, -run, at))


def _filled(chunk_mv: np.ndarray, missing: np.ndarray, last_mv: float) -> np.ndarray:
    """The chunk (n,) with each `missing` sample (n,) replaced by the one before it; `last_mv` came before the chunk."""
    if not missing.any():
        return chunk_mv
    latest = np.maximum.accumulate(np.where(missing, -1, np.arange(len(chunk_mv))))
    return np.where(latest >= 0, chunk_mv[latest], last_mv)


def unit_of(signal_mv: np.ndarray, fs_hz: float) -> str | None:
    """`SignalWatch.unit` of the whole of `signal_mv` (n,), n > 0."""
    watch = SignalWatch(fs_hz)
    watch(signal_mv)
    return watch.unit
