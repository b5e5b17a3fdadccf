"""Features of the rhythm: RR intervals over those that the patient has had of late.

Intervals over their neighbours tell early beats, as in de Chazal et al. 2004 (IEEE TBME 51:1196-1206). What tells early
beats that are S from early ones that are not, as in atrial fibrillation or where beats are dropped, are the rank of an
interval among the latest, how much these vary, and whether they are whole multiples of it.
"""

import math
from itertools import chain, pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from deep_ecg.beats.arrays import each
from deep_ecg.beats.signal_watch import SignalWatch

MEMORIES_BEATS = (100, 400)  # how far back the running RR statistics reach; a stream has to remember the longest
MEMORY_BEATS = max(MEMORIES_BEATS)
MAX_RR_S = 3.0  # a longer interval is a pause, taken for one of this length
RATIO_RANGE = (0.2, 3.0)
BLOCK_BEATS = 4096  # bounds the memory that long records need
LOCAL_BEATS = (8, 32)  # how far back the irregularity of the rhythm is measured
MOST_OFF = 0.5  # of the interval that others are compared with: one far shorter is no further from a multiple of it
RUNNING = ("pre_ratio", "previous_ratio", "second_previous_ratio", "rr_step")
RHYTHM_CAUSAL = (
    *(f"{name}_{memory}" for memory in MEMORIES_BEATS for name in RUNNING),
    "pre_previous_ratio",
    "previous_second_ratio",
    *(f"{name}_{memory}" for memory in LOCAL_BEATS for name in ("rr_variation", "rr_step", "rr_off_multiple")),
    "pre_rank",
)
RHYTHM = {
    "causal": RHYTHM_CAUSAL,
    "diagnostic": (
        *RHYTHM_CAUSAL,
        *(f"post_ratio_{memory}" for memory in MEMORIES_BEATS),
        "pre_post_ratio",
    ),
}


def rr_interval_s(earlier: int | None, later: int, fs_hz: float, watch: SignalWatch | None = None) -> float:
    """Seconds from R-peak `earlier` to `later`, both samples at `fs_hz`; NaN where that is no RR interval.

    It is none where there is no earlier beat, and where the `watch` over the signal has seen that lost in between. A
    pause of more than MAX_RR_S counts as MAX_RR_S.
    """
    if earlier is None or (watch is not None and watch.lost_between(earlier, later)):
        return math.nan
    return min((later - earlier) / fs_hz, MAX_RR_S)


def rr_intervals(
    peaks: np.ndarray, fs_hz: float, after_gap: np.ndarray | None = None, watch: SignalWatch | None = None
) -> np.ndarray:
    """`rr_interval_s` of the interval that ends at each of `peaks`, (beats,) in seconds; NaN for the first.

    There is none either where `after_gap` (beats,) is True (ventricular flutter lies between the beats: record 207).
    """
    pairs = pairwise(chain([None], each(peaks)))
    rr_s = np.fromiter((rr_interval_s(*pair, fs_hz, watch) for pair in pairs), float, len(peaks))
    if after_gap is not None:
        rr_s[after_gap] = np.nan
    return rr_s


class RhythmMemory:
    """Rhythm features of one patient's beats, any number of them at a time: remembers the intervals that they need."""

    def __init__(self, mode: str):
        self._mode, self._rr_s = mode, np.empty(0)

    def steps(self, rr_s: np.ndarray, next_rr_s: float = np.nan, kept: np.ndarray | slice = slice(None)) -> np.ndarray:
        """`rhythm_features` of the next beats, or those `kept` (beats,), whose RR intervals are `rr_s` (beats,).

        `next_rr_s` is the interval after the last of them, NaN where it is not known (yet).
        """
        known_s = np.concatenate((self._rr_s, rr_s, [next_rr_s]))
        beats = len(self._rr_s) + np.arange(len(rr_s))[kept]
        self._rr_s = known_s[:-1][-MEMORY_BEATS:].copy()
        return rhythm_features(known_s, self._mode, beats)


def rhythm_features(
    rr_s: np.ndarray, mode: str, beats: np.ndarray | None = None, block_beats: int = BLOCK_BEATS
) -> np.ndarray:
    """Rhythm features of each beat from the RR intervals of `rr_intervals`, (beats, len(RHYTHM[mode])) float32.

    With `beats`, the rows of the beats of these numbers. `block_beats` are worked on at once.

    Running statistics are of the patient's last MEMORIES_BEATS intervals before the beat's own, as many as there are.
    The causal features of beat i use intervals up to i; the diagnostic ones also interval i + 1. A ratio that cannot
    be formed is 1. Ratios are to the mean and not to the median: where most beats are early, as in some patients with
    S beats, the median interval is that of the early beats, while the mean still holds their pauses.
    """
    beats = np.arange(len(rr_s)) if beats is None else beats
    blocks = [_block_features(rr_s, beats[i : i + block_beats], mode) for i in range(0, len(beats), block_beats)]
    return np.concatenate(blocks) if blocks else np.empty((0, len(RHYTHM[mode])), np.float32)


def _block_features(rr_s: np.ndarray, beats: np.ndarray, mode: str) -> np.ndarray:
    """The rows of `rhythm_features` of the beats of these numbers, all at once."""
    rr_s = np.concatenate((np.full(MEMORY_BEATS, np.nan), rr_s, [np.nan]))
    history = sliding_window_view(rr_s, MEMORY_BEATS)[beats]  # intervals before the beat's own, oldest first
    at = beats + MEMORY_BEATS
    pre, previous, second, post = rr_s[at], rr_s[at - 1], rr_s[at - 2], rr_s[at + 1]
    known, steps = np.isfinite(history), np.abs(history[:, 1:] - history[:, :-1])
    filled = np.where(known, history, 0)
    ratios = {"pre_previous_ratio": (pre, previous), "previous_second_ratio": (previous, second)}
    ratios["pre_post_ratio"] = (pre, post)
    values, shares = {}, {}
    for memory in LOCAL_BEATS + MEMORIES_BEATS:
        recent, count = filled[:, -memory:], known[:, -memory:].sum(axis=1)
        mean = _mean(recent, count)
        shares[f"rr_step_{memory}"] = (_median(steps[:, 1 - memory :]), mean)
        if memory in LOCAL_BEATS:
            variance = np.maximum(_mean(recent**2, count) - mean**2, 0)
            shares[f"rr_variation_{memory}"] = (np.sqrt(variance), mean)
            values[f"rr_off_multiple_{memory}"] = _off_multiple(pre, history[:, -memory:], count)
        if memory == max(LOCAL_BEATS):
            values["pre_rank"] = _rank(pre, history[:, -memory:], count)
        if memory in MEMORIES_BEATS:
            intervals = {"pre": pre, "previous": previous, "second_previous": second, "post": post}
            ratios |= {f"{name}_ratio_{memory}": (interval, mean) for name, interval in intervals.items()}
    values |= zip(ratios, _ratio(*np.array(list(ratios.values())).swapaxes(0, 1)))
    values |= zip(shares, _share(*np.array(list(shares.values())).swapaxes(0, 1)))
    return np.array([values[name] for name in RHYTHM[mode]]).T.astype(np.float32, order="C")


def _median(steps: np.ndarray) -> np.ndarray:
    """Median of the known `steps` (beats, memory - 1) between intervals, NaN where there are none.

    It is high in atrial fibrillation, whose early beats are normal; the standard deviation would be as high where a
    regular rhythm is broken by pauses.
    """
    row, ordered, count = np.arange(len(steps)), np.sort(steps, axis=1), np.isfinite(steps).sum(axis=1)  # NaN: last
    return ordered[row, np.array([(count - 1) // 2, count // 2])].mean(axis=0)


def _off_multiple(pre: np.ndarray, history: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Mean distance of the `count` intervals in `history` (beats, memory) from whole multiples of `pre` (beats,).

    In units of `pre`, 0 where unknown. It is low where beats are dropped, as in atrioventricular block, and the next
    one in time looks early; high where a beat is premature.
    """
    multiple = history / np.where(pre > 0, pre, np.nan)[:, None]
    off = np.minimum(np.abs(multiple - np.maximum(np.round(multiple), 1)), MOST_OFF)
    return np.where(np.isfinite(off), off, 0).sum(axis=1) / np.maximum(count, 1)


def _rank(pre: np.ndarray, history: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Share of the `count` intervals in `history` (beats, memory) shorter than `pre` (beats,); 0.5 where unknown."""
    shorter = (history < pre[:, None]).sum(axis=1) + 0.5 * (history == pre[:, None]).sum(axis=1)
    return np.where((count > 0) & np.isfinite(pre), shorter / np.maximum(count, 1), 0.5)


def _mean(rows: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Mean of the `count` known values of each row, where the others are 0; NaN where there are none."""
    return rows.sum(axis=1) / np.where(count > 0, count, np.nan)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    ratio = numerator / denominator
    return np.where(np.isfinite(ratio), np.clip(ratio, *RATIO_RANGE), 1.0)


def _share(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    share = numerator / denominator
    return np.where(np.isnan(share), 0.0, np.clip(share, 0, 1))
