"""What a labelled record amounts to, in figures: pure functions of its beats, by the rules of rules.py."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from config import CLASSES
from deep_ecg.report.beat_series import BeatSeries
from deep_ecg.report.episodes import PATTERNS, Episode, Groups, as_json, episodes_of, rhythms
from deep_ecg.report.hrv import hrv_of
from deep_ecg.scoring.ec57 import percentage

ECTOPIC_NAMES = {"V": "ventricular", "S": "supraventricular"}
HOUR_S = 3600.0


def measures_of(series: BeatSeries, episodes: Sequence[Episode] | None = None) -> dict:
    """Every figure of a report; `episodes` are those of `episodes_of`. Percentages, seconds, beats a minute."""
    episodes = episodes_of(series) if episodes is None else episodes
    return {
        "rules": asdict(series.rules),
        "duration_s": round(series.duration_s, 3),
        "started": None if series.started is None else series.started.isoformat(),
        "read_percent": percentage(series.duration_s - series.unread_s, series.duration_s),
        "beats": _beats(series),
        "rate": _rate(series),
        "longest_rr": _longest_rr(series),
        "pauses": _pauses(series),
        **{name: _ectopy(series, letter, episodes) for letter, name in ECTOPIC_NAMES.items()},
        **{kind: _together(series, kind, episodes) for kind in ("bradycardia", "tachycardia")},
        "rhythm": rhythm_of(series),
        "hours": _hours(series, episodes),
        "hrv": hrv_of(series),
        "rr_histogram": rr_histogram(series),
        "lorenz": lorenz(series),
        "episodes": as_json(episodes, series),
    }


def class_percent(counts: np.ndarray) -> dict[str, float | None]:
    """Share of each class in the beats that `counts` (5,) tells of."""
    return {name: percentage(count, counts.sum()) for name, count in zip(CLASSES, counts)}


def _beats(series: BeatSeries) -> dict:
    counts = np.bincount(series.labels[series.in_class], minlength=len(CLASSES))
    return {
        "all": len(series),
        "counted": int(series.in_class.sum()),
        "classes": {name: int(count) for name, count in zip(CLASSES, counts)},
        "percent": class_percent(counts),
    }


def _at(series: BeatSeries, place: int) -> dict:
    """When beat number `place` was."""
    time_s = float(series.times_s[place])
    return {"at_s": round(time_s, 3), "time": series.time_text(time_s)}


def _rate(series: BeatSeries) -> dict:
    known, rates = np.isfinite(series.rr_s), series.rate_per_min
    told: dict = {"mean_per_min": mean_rate(series.rr_s[known]), "lowest": None, "highest": None}
    if np.isfinite(rates).any():
        for name, place in (("lowest", int(np.nanargmin(rates))), ("highest", int(np.nanargmax(rates)))):
            first = place - series.rules.rate_beats
            told[name] = {"per_min": float(rates[place]), **_at(series, first)}
    return told


def mean_rate(rr_s: np.ndarray) -> float | None:
    """Beats a minute of the RR intervals `rr_s` (n,), None without any."""
    return float(60 * len(rr_s) / rr_s.sum()) if len(rr_s) else None


def _longest_rr(series: BeatSeries) -> dict | None:
    if not np.isfinite(series.rr_s).any():
        return None
    place = int(np.nanargmax(series.rr_s))
    return {"s": round(float(series.rr_s[place]), 3), **_at(series, place - 1)}


def _pauses(series: BeatSeries) -> dict:
    rr_s, rules = np.nan_to_num(series.rr_s), series.rules
    return {"count": int((rr_s > rules.pause_s).sum()), "long": int((rr_s > rules.long_pause_s).sum())}


def _ectopy(series: BeatSeries, letter: str, episodes: Sequence[Episode]) -> dict:
    """Beats of the class `letter` by how they come."""
    _, sizes = Groups.of(series).of_class(letter)
    runs = [one for one in episodes if one.kind == f"{letter} run"]
    fastest = max(runs, key=lambda one: one.rate_per_min or 0, default=None)
    longest = max(runs, key=lambda one: one.beats or 0, default=None)
    return {
        "beats": int(sizes.sum()),
        "percent": percentage(int(sizes.sum()), int(series.in_class.sum())),
        "single": int((sizes == 1).sum()),
        "couplets": sum(one.kind == f"{letter} couplet" for one in episodes),
        **{pattern: _together(series, f"{letter} {pattern}", episodes) for pattern, _ in PATTERNS},
        "runs": _together(series, f"{letter} run", episodes),
        "fastest_run": _told(series, fastest),
        "longest_run": _told(series, longest),
    }


def _together(series: BeatSeries, kind: str, episodes: Sequence[Episode]) -> dict:
    """How many episodes of a `kind` there are, their beats and their time."""
    mine = [one for one in episodes if one.kind == kind]
    time_s = sum(one.last - one.first for one in mine) / series.fs_hz
    return {"count": len(mine), "beats": sum(one.beats or 0 for one in mine), "s": round(time_s, 3)}


def _told(series: BeatSeries, one: Episode | None) -> dict | None:
    if one is None:
        return None
    first_s = one.first / series.fs_hz
    rate = None if one.rate_per_min is None else round(one.rate_per_min, 1)
    return {"beats": one.beats, "per_min": rate, "at_s": round(first_s, 3), "time": series.time_text(first_s)}


def rhythm_of(series: BeatSeries) -> dict | None:
    """Episodes of each kind of rhythm and their share of what was read; None where no rhythm was judged."""
    if series.rhythm is None:
        return None
    episodes, kinds = list(rhythms(series)), dict.fromkeys(one.kind for one in series.rhythm)
    told = {kind: _together(series, kind, episodes) for kind in kinds}
    return {kind: one | {"percent": _read_percent(series, kind, episodes)} for kind, one in told.items()}


def _read_percent(series: BeatSeries, kind: str, episodes: Sequence[Episode]) -> float | None:
    """The share of what was read that lies in episodes of a `kind`, as far as they could be read, too."""
    spans_s = [(one.first / series.fs_hz, one.last / series.fs_hz) for one in episodes if one.kind == kind]
    read_s = sum(end_s - start_s - _unread_s(series, start_s, end_s) for start_s, end_s in spans_s)
    return percentage(read_s, series.duration_s - series.unread_s)


def _hours(series: BeatSeries, episodes: Sequence[Episode]) -> list[dict]:
    """The record hour by hour: of the clock where the start is known, else from the start."""
    clock = series.clock_of(0.0)
    offset_s = 0.0 if clock is None else 60 * clock.minute + clock.second + clock.microsecond / 1e6
    count = max(int(np.ceil((series.duration_s + offset_s) / HOUR_S)), 1)
    hour_of = ((series.times_s + offset_s) // HOUR_S).astype(int)
    edges = np.searchsorted(hour_of, np.arange(count + 1))
    rows = []
    for number in range(count):
        start_s, end_s = max(number * HOUR_S - offset_s, 0), min((number + 1) * HOUR_S - offset_s, series.duration_s)
        started = [one.kind for one in episodes if start_s <= one.first / series.fs_hz < end_s]
        rows.append({"time": series.time_text(start_s), "start_s": round(start_s, 3), "end_s": round(end_s, 3)})
        rows[-1] |= {"read_percent": percentage(end_s - start_s - _unread_s(series, start_s, end_s), end_s - start_s)}
        rows[-1] |= _of_hour(series, slice(edges[number], edges[number + 1]), started)
    return rows


def _of_hour(series: BeatSeries, beats: slice, started: Sequence[str]) -> dict:
    """The figures of an hour: its `beats`, and the kinds of the episodes that `started` in it."""
    counts = np.bincount(series.labels[beats][series.in_class[beats]], minlength=len(CLASSES))
    rr_s, rates = series.rr_s[beats], series.rate_per_min[beats]
    rates = rates[np.isfinite(rates)]
    return {
        "beats": int(counts.sum()),
        "mean_per_min": mean_rate(rr_s[np.isfinite(rr_s)]),
        "lowest_per_min": float(rates.min()) if len(rates) else None,
        "highest_per_min": float(rates.max()) if len(rates) else None,
        "classes": {name: int(count) for name, count in zip(CLASSES, counts)},
        "runs": {letter: started.count(f"{letter} run") for letter in ECTOPIC_NAMES},
        "pauses": started.count("pause"),
    }


def _unread_s(series: BeatSeries, start_s: float, end_s: float) -> float:
    spans_s = [(one.first / series.fs_hz, one.last / series.fs_hz) for one in series.unread]
    return sum(max(min(last_s, end_s) - max(first_s, start_s), 0.0) for first_s, last_s in spans_s)


def rr_histogram(series: BeatSeries) -> dict:
    """RR intervals of each class of the beat that ends them, in bins from `first_ms` on; the last holds longer ones."""
    known = np.isfinite(series.rr_s) & series.in_class
    bins, count = _bins(series, series.rr_s[known]), _bin_count(series)
    labels = series.labels[known]
    first = int(bins.min(initial=count - 1))
    last = int(bins.max(initial=first))
    counts = {
        name: np.bincount(bins[labels == number], minlength=count)[first : last + 1].tolist()
        for number, name in enumerate(CLASSES)
        if (labels == number).any()
    }
    return {"bin_ms": series.rules.rr_bin_ms, "first_ms": first * series.rules.rr_bin_ms, "counts": counts}


def lorenz(series: BeatSeries) -> dict:
    """Pairs of RR intervals before and after a beat, by its class: [bin before, bin after, pairs] of each cell."""
    before_s, after_s = series.rr_s[:-1], series.rr_s[1:]
    known = np.isfinite(before_s) & np.isfinite(after_s) & series.in_class[:-1]
    labels = series.labels[:-1][known]
    x, y = _bins(series, before_s[known]), _bins(series, after_s[known])
    count = _bin_count(series)
    found: dict[str, list] = {}
    for number, name in enumerate(CLASSES):
        cells, pairs = np.unique(x[labels == number] * count + y[labels == number], return_counts=True)
        if len(cells):
            found[name] = np.stack([cells // count, cells % count, pairs], axis=1).tolist()
    return {"bin_ms": series.rules.rr_bin_ms, "cells": found}


def _bin_count(series: BeatSeries) -> int:
    return series.rules.most_rr_ms // series.rules.rr_bin_ms + 1


def _bins(series: BeatSeries, rr_s: np.ndarray) -> np.ndarray:
    """The bin of each RR interval (n,); rounding keeps 0.28 s out of the bin below."""
    return np.minimum(np.round(1000 * rr_s, 3) // series.rules.rr_bin_ms, _bin_count(series) - 1).astype(int)
