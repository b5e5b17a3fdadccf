"""The strips of a record that matter: the extremes, the first of each kind of event, the least sure labels."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from config import CLASSES
from deep_ecg.report.beat_series import BeatSeries
from deep_ecg.report.episodes import NOT_READ, Episode, Groups

STRIP_S = 7.2  # 180 mm of paper: the width of a page
LEAD_IN_S = 1.2  # of a strip before its event
APART_S = 10.0  # between two of the least sure beats
LEAST_SURE = 3


@dataclass(frozen=True)
class Strip:
    """STRIP_S seconds of a record from `start_s` on, and what they show."""

    start_s: float
    titles: tuple[str, ...]


def strips_of(series: BeatSeries, episodes: Sequence[Episode]) -> list[Strip]:
    """The strips, extremes first; events that one strip shows share it."""
    found: list[Strip] = []
    for first_s, title in _wanted(series, episodes):
        start_s = float(np.clip(first_s - LEAD_IN_S, 0, max(series.duration_s - STRIP_S, 0)))
        near = next((one for one in found if abs(one.start_s - start_s) < LEAD_IN_S), None)
        if near is None:
            found.append(Strip(start_s, (title,)))
        else:
            found[found.index(near)] = Strip(near.start_s, (*near.titles, title))
    return found


def _wanted(series: BeatSeries, episodes: Sequence[Episode]) -> Iterator[tuple[float, str]]:
    """When each begins, in seconds, and what it is."""
    for letter in "VS":
        runs = [one for one in episodes if one.kind == f"{letter} run"]
        yield from _extreme(series, runs, f"fastest {letter} run", lambda one: one.rate_per_min or 0)
        yield from _extreme(series, runs, f"longest {letter} run", lambda one: one.beats or 0)
    if np.isfinite(series.rr_s).any():
        place = int(np.nanargmax(series.rr_s))
        yield float(series.times_s[place - 1]), f"longest RR, {series.rr_s[place]:.2f} s"
        if series.rr_s[place] > STRIP_S - 2 * LEAD_IN_S:
            yield float(series.times_s[place]) - LEAD_IN_S, "end of the longest RR"
    if np.isfinite(series.rate_per_min).any():
        for name, choose in (("lowest", np.nanargmin), ("highest", np.nanargmax)):
            place = int(choose(series.rate_per_min))
            first_s = float(series.times_s[place - series.rules.rate_beats])
            yield first_s, f"{name} rate, {series.rate_per_min[place]:.0f}/min"
    yield from _firsts(series, episodes)
    yield from _least_sure(series)


def _extreme(
    series: BeatSeries, runs: Sequence[Episode], name: str, key: Callable[[Episode], float]
) -> Iterator[tuple[float, str]]:
    if runs:
        one = max(runs, key=key)
        yield one.first / series.fs_hz, f"{name}, {one.beats} beats{_rate_text(one)}"


def _rate_text(one: Episode) -> str:
    return "" if one.rate_per_min is None else f" at {one.rate_per_min:.0f}/min"


def _firsts(series: BeatSeries, episodes: Sequence[Episode]) -> Iterator[tuple[float, str]]:
    """The first of each kind of episode, and the first single beat of each class."""
    firsts: dict[str, Episode] = {}
    for one in episodes:
        if one.kind != NOT_READ:
            firsts.setdefault(one.kind, one)
    for kind, one in firsts.items():
        yield one.first / series.fs_hz, f"first {kind}"
    groups = Groups.of(series)
    for name in CLASSES:
        starts, sizes = groups.of_class(name)
        if name != "N" and (sizes == 1).any():
            yield float(series.times_s[starts[sizes == 1][0]]), f"first single {name}"
    if series.in_class.any():
        middle = np.flatnonzero(series.in_class)[series.in_class.sum() // 2]
        yield float(series.times_s[middle]), "middle of the record"


def _least_sure(series: BeatSeries) -> Iterator[tuple[float, str]]:
    if series.probability is None:
        return
    told_s: list[float] = []
    for place in np.argsort(np.where(series.reliable, series.probability, 2.0), kind="stable").tolist():
        time_s = float(series.times_s[place])
        if len(told_s) == LEAST_SURE or not series.reliable[place]:
            return
        if all(abs(time_s - other_s) >= APART_S for other_s in told_s):
            told_s.append(time_s)
            yield time_s, f"least sure, {100 * series.probability[place]:.0f} % {CLASSES[series.labels[place]]}"
