"""The labelled beats of one record as measures take them, and what is derived from them alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from functools import cached_property

import numpy as np

from config import CLASSES
from deep_ecg.report.rules import Rules
from deep_ecg.system.text import clock

N = CLASSES.index("N")
DAY_S = 86_400.0


@dataclass(frozen=True)
class Unread:
    """A stretch from sample `first` to `last` in which no beat was told, and why."""

    first: int
    last: int
    why: str


@dataclass(frozen=True)
class RhythmEpisode:
    """A stretch from sample `first` to `last` in a rhythm of one `kind`, such as "atrial fibrillation"."""

    first: int
    last: int
    kind: str


@dataclass(frozen=True)
class BeatSeries:
    """Beats of one record, in order of time, with `length` samples at `fs_hz`.

    samples (beats,) of their R-peaks, labels (beats,) into CLASSES, probability (beats,) of each label. `counted`
    (beats,) is False for beats that are not to be relied on (unreadable signal): they take part in nothing.
    `classified` is False where the label is too unsure: such a beat ends intervals, and is in no class. `after_gap`:
    signal was lost between the beat before and this one. Without an array, all are counted and classified, and nothing
    was lost. `unread` are the stretches without beats. `rhythm` is None where no rhythm was judged. `started`: when
    the first sample was recorded, a time of day alone where the date is not known.
    """

    samples: np.ndarray
    labels: np.ndarray
    fs_hz: float
    length: int
    probability: np.ndarray | None = None
    counted: np.ndarray | None = None
    classified: np.ndarray | None = None
    after_gap: np.ndarray | None = None
    unread: Sequence[Unread] = ()
    rhythm: Sequence[RhythmEpisode] | None = None
    started: datetime | time | None = None
    rules: Rules = field(default_factory=Rules)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def duration_s(self) -> float:
        """Length of the record in seconds."""
        return self.length / self.fs_hz

    @cached_property
    def times_s(self) -> np.ndarray:
        """Time of each R-peak from the start of the record, (beats,)."""
        return self.samples / self.fs_hz

    @cached_property
    def reliable(self) -> np.ndarray:
        """Which beats take part, (beats,) bool."""
        return _or_all(self.counted, len(self))

    @cached_property
    def in_class(self) -> np.ndarray:
        """Which of them have a label that counts, (beats,) bool."""
        return self.reliable & _or_all(self.classified, len(self))

    @cached_property
    def rr_s(self) -> np.ndarray:
        """The RR interval that ends at each beat, (beats,) in seconds; NaN where there is none."""
        rr_s = np.diff(self.samples, prepend=np.nan) / self.fs_hz
        known = self.reliable & np.roll(self.reliable, 1) & (rr_s <= self.rules.longest_rr_s)
        if self.after_gap is not None:
            known &= ~self.after_gap
        return np.where(known, rr_s, np.nan)

    @cached_property
    def rate_per_min(self) -> np.ndarray:
        """Heart rate over the last `rate_beats` RR intervals at each beat, (beats,); NaN where one is none."""
        count = self.rules.rate_beats
        rates = np.full(len(self), np.nan)
        if len(self) > count:
            whole = np.convolve(np.isfinite(self.rr_s), np.ones(count, int))[count : len(self)] == count
            spans = self.samples[count:] - self.samples[:-count]  # whole numbers: a rate at a limit is not beyond it
            rates[count:] = np.where(whole, 60 * count * self.fs_hz / spans, np.nan)
        return rates

    @property
    def unread_s(self) -> float:
        """Seconds in which no beat was told for long."""
        return sum(one.last - one.first for one in self.unread) / self.fs_hz

    @cached_property
    def _ends_after_all_dates(self) -> bool:
        """Whether the record, by its start, lasts beyond the year 9999: its clock was wrong."""
        if not isinstance(self.started, datetime):
            return False
        return timedelta(seconds=self.duration_s) > datetime.max.replace(tzinfo=self.started.tzinfo) - self.started

    def clock_of(self, time_s: float) -> datetime | None:
        """The date and time of day, `time_s` into the record; of no matter which date where that is not known."""
        if self.started is None or self._ends_after_all_dates:
            return None
        if isinstance(self.started, time):
            return datetime.combine(datetime.min.date(), self.started) + timedelta(seconds=time_s)
        return self.started + timedelta(seconds=time_s)

    def time_text(self, time_s: float) -> str:
        """`time_s` into the record as a time of day, where one is known, else as h:mm:ss from the start.

        In a record of more than a day the days are counted: "+1 d 09:12:30".
        """
        start, at = self.clock_of(0.0), self.clock_of(time_s)
        if start is None or at is None:
            return clock(time_s)
        days = (at.date() - start.date()).days if self.duration_s > DAY_S else 0
        return f"+{days} d {at:%H:%M:%S}" if days else f"{at:%H:%M:%S}"


def _or_all(flags: np.ndarray | None, count: int) -> np.ndarray:
    return np.ones(count, bool) if flags is None else np.asarray(flags, bool)
