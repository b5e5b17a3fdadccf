"""Samples at times of their own, brought to an even rate."""

import numpy as np

EVEN = 0.5  # of a sampling interval: no time of an even signal is further from its place
GAP = 2.5  # sampling intervals: between samples further apart nothing was recorded
NICE = 2e-3  # of the rate: a whole number of Hz as near as this is the rate, if it keeps the signal even
MOST_MISSING = 20  # times as many samples as there are, and MISSING_AT_LEAST, can lie in gaps
MISSING_AT_LEAST = 10_000_000


def even_rate_hz(times_s: np.ndarray) -> float:
    """The rate of samples at `times_s` (n,), rising, n > 1: their mean rate, without the gaps."""
    steps_s = np.diff(times_s)
    rate_hz = 1 / float(steps_s[steps_s <= GAP * np.median(steps_s)].mean())
    whole_hz = round(rate_hz)
    if whole_hz and abs(whole_hz - rate_hz) <= NICE * rate_hz and is_even(times_s, whole_hz):
        return float(whole_hz)
    return float(f"{rate_hz:.6g}")


def is_even(times_s: np.ndarray, fs_hz: float) -> bool:
    """Whether the samples at `times_s` (n,) are those of a clock of `fs_hz`, each told to within half an interval."""
    places = (times_s - times_s[0]) * fs_hz - np.arange(len(times_s))
    return bool(np.ptp(places) <= 2 * EVEN)


def spread(times_s: np.ndarray) -> np.ndarray:
    """`times_s` (n,), never falling, with those samples that share a time, as a packet's do, spread over it.

    Where times are not known (NaN) they lie evenly between their neighbours.
    """
    known = np.isfinite(times_s)
    first = known & np.append(True, np.diff(np.where(known, times_s, np.nan)) != 0)
    if known.any() and first.all():
        return times_s
    places = np.flatnonzero(first)
    spread_s = np.interp(np.arange(len(times_s)), places, times_s[places])
    if len(places) > 1:  # beyond the last time the mean step goes on
        last = places[-1]
        step_s = (times_s[last] - times_s[places[0]]) / (last - places[0])
        spread_s[last:] = times_s[last] + step_s * np.arange(len(times_s) - last)
    return spread_s


def evenly(values: np.ndarray, times_s: np.ndarray, fs_hz: float) -> np.ndarray:
    """`values` (n,) of samples at `times_s` (n,), rising, at `fs_hz` from the first time on, (m,); gaps are NaN.

    Between samples a curve is laid that has no peaks but theirs (Fritsch and Carlson 1980). ValueError where most of
    the time lies in gaps.
    """
    from scipy.interpolate import PchipInterpolator  # only where it is used: it takes long

    grid_s = times_s[0] + np.arange(grid_length(times_s, fs_hz)) / fs_hz
    known = np.isfinite(values)
    if known.sum() < 2:
        return np.full(len(grid_s), np.nan)
    at_s, there = times_s[known], values[known]
    curve = PchipInterpolator(at_s, there, extrapolate=False)(np.minimum(grid_s, times_s[-1]))
    after = np.clip(np.searchsorted(at_s, grid_s), 1, len(at_s) - 1)
    far = at_s[after] - at_s[after - 1] > GAP / fs_hz
    near = np.minimum(np.abs(at_s[after] - grid_s), np.abs(grid_s - at_s[after - 1])) <= EVEN / fs_hz
    curve[far & ~near] = np.nan
    return curve


def grid_length(times_s: np.ndarray, fs_hz: float) -> int:
    """Samples at `fs_hz` from the first to the last of `times_s` (n,). ValueError where most of them are in gaps."""
    length = float((times_s[-1] - times_s[0]) * fs_hz) + 1
    if length > MOST_MISSING * len(times_s) + MISSING_AT_LEAST:
        raise ValueError(f"{length:,.0f} samples lie between its first time and its last: cut it at the gaps")
    return int(np.floor(length + EVEN))
