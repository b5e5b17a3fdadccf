"""Episodes of a labelled record: runs, couplets, bigeminy, pauses, slow and fast stretches, rhythms."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config import CLASSES
from deep_ecg.report.beat_series import BeatSeries
from deep_ecg.system.files import write_text

PATTERNS = (("bigeminy", 1), ("trigeminy", 2))  # N between two single ectopic beats
NOT_READ = "no beats"
COLUMNS = ("kind", "start_sample", "end_sample", "start_s", "end_s", "start_time", "beats", "rate_per_min", "why")


@dataclass(frozen=True)
class Episode:
    """Something that lasts from sample `first` to `last`.

    `beats` of it, None where they are not what counts; `rate_per_min` of the intervals inside, None where there is
    none; `why` of a stretch without beats.
    """

    kind: str
    first: int
    last: int
    beats: int | None = None
    rate_per_min: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Groups:
    """Beats of one class in a row, (groups,) each: index of the first beat, how many, class, and whether it is joined.

    A group is joined to the one before it where an RR interval lies between the two. Beats that are in no class are
    groups of class -1.
    """

    starts: np.ndarray
    sizes: np.ndarray
    classes: np.ndarray
    joined: np.ndarray

    @classmethod
    def of(cls, series: BeatSeries) -> "Groups":
        """Those of all beats of a record."""
        classes = np.where(series.in_class, series.labels, -1)
        joined = np.isfinite(series.rr_s)
        starts = np.flatnonzero((np.diff(classes, prepend=-2) != 0) | ~joined)
        return cls(starts, np.diff(starts, append=len(series)), classes[starts], joined[starts])

    def of_class(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Index of the first beat, and size, of the groups of class `name`."""
        mine = self.classes == CLASSES.index(name)
        return self.starts[mine], self.sizes[mine]


def episodes_of(series: BeatSeries) -> list[Episode]:
    """All episodes of a record in order of time."""
    groups, found = Groups.of(series), [*_pauses(series), *_not_read(series), *rhythms(series)]
    for name in "VS":
        found += [*_in_a_row(series, groups, name), *_patterns(series, groups, name)]
    found += _rate_episodes(series, "bradycardia", series.rate_per_min < series.rules.brady_per_min)
    found += _rate_episodes(series, "tachycardia", series.rate_per_min > series.rules.tachy_per_min)
    return sorted(found, key=lambda one: (one.first, one.last, one.kind))


def between(series: BeatSeries, kind: str, first: int, last: int, beats: int | None = None) -> Episode:
    """The episode from beat number `first` to `last`, with the mean rate of the RR intervals inside."""
    inside_s = series.rr_s[first + 1 : last + 1]
    known = np.isfinite(inside_s)
    rate = 60 * known.sum() / inside_s[known].sum() if known.any() else None
    span = (int(series.samples[first]), int(series.samples[last]))
    return Episode(kind, *span, last - first + 1 if beats is None else beats, None if rate is None else float(rate))


def _in_a_row(series: BeatSeries, groups: Groups, name: str) -> Iterator[Episode]:
    """Couplets and runs of class `name`."""
    for start, size in zip(*(part.tolist() for part in groups.of_class(name))):
        if size > 1:
            kind = "run" if size >= series.rules.run_beats else "couplet"
            yield between(series, f"{name} {kind}", start, start + size - 1)


def _patterns(series: BeatSeries, groups: Groups, name: str) -> Iterator[Episode]:
    """Bigeminy and trigeminy of class `name`."""
    normal, mine = CLASSES.index("N"), CLASSES.index(name)
    single = (groups.classes == mine) & (groups.sizes == 1)
    for pattern, between_beats in PATTERNS:
        gap = (groups.classes == normal) & (groups.sizes == between_beats) & groups.joined
        linked = single[:-2] & gap[1:-1] & single[2:] & groups.joined[2:]  # group k to group k + 2
        place = 0
        while place < len(linked):
            end = place
            while end < len(linked) and linked[end]:
                end += 2
            ectopics = (end - place) // 2 + 1
            if ectopics >= series.rules.pattern_beats:
                first, last = int(groups.starts[place]), int(groups.starts[end])
                yield between(series, f"{name} {pattern}", first, last, ectopics)
            place = end if end > place else place + 1


def _pauses(series: BeatSeries) -> Iterator[Episode]:
    for place in np.flatnonzero(series.rr_s > series.rules.pause_s).tolist():
        yield Episode("pause", int(series.samples[place - 1]), int(series.samples[place]))


def _rate_episodes(series: BeatSeries, kind: str, at: np.ndarray) -> Iterator[Episode]:
    """Stretches in which the rate over the last beats is beyond a limit, which it is `at` (beats,) bool."""
    count, first, last = series.rules.rate_beats, None, None
    for place in [*np.flatnonzero(at).tolist(), None]:
        if first is not None and last is not None and (place is None or place - count > last):
            if series.times_s[last] - series.times_s[first] >= series.rules.rate_episode_s:
                yield between(series, kind, first, last)
            first = None
        if place is not None:
            first, last = (place - count if first is None else first), place


def _not_read(series: BeatSeries) -> Iterator[Episode]:
    return (Episode(NOT_READ, one.first, one.last, why=one.why) for one in series.unread)


def rhythms(series: BeatSeries) -> Iterator[Episode]:
    """Those of `BeatSeries.rhythm`."""
    for one in series.rhythm or ():
        first, last = np.searchsorted(series.samples, [one.first, one.last + 1]).tolist()
        beats = between(series, one.kind, first, last - 1) if last > first else None
        told = (beats.beats, beats.rate_per_min) if beats else (0, None)
        yield Episode(one.kind, one.first, one.last, *told)


def as_json(episodes: Sequence[Episode], series: BeatSeries) -> list[dict]:
    """The episodes for NAME.json."""
    return [dict(zip(COLUMNS, _cells(one, series))) for one in episodes]


def write_episodes(path: Path, episodes: Sequence[Episode], series: BeatSeries):
    """Writes NAME-events.csv: one line an episode, in order of time."""
    lines = [",".join("" if cell is None else f"{cell}" for cell in _cells(one, series)) for one in episodes]
    write_text(path, "\n".join([",".join(COLUMNS), *lines]) + "\n")


def _cells(one: Episode, series: BeatSeries) -> tuple:
    first_s, last_s = one.first / series.fs_hz, one.last / series.fs_hz
    clock = series.time_text(first_s) if series.started is not None else None
    rate = None if one.rate_per_min is None else round(one.rate_per_min, 1)
    why = one.why.replace(",", ";") or None
    return (one.kind, one.first, one.last, round(first_s, 3), round(last_s, 3), clock, one.beats, rate, why)
