"""What `predict` tells of a signal beside its beats: long stretches without any, and why."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.ndimage import uniform_filter1d

from deep_ecg.beats.detector import ENERGY_S, LEAST_MV, QRS_BAND_HZ
from deep_ecg.beats.signal_watch import SignalWatch
from deep_ecg.records.wfdb_files import Record
from deep_ecg.system.text import clock
from dsp_filters import bandpass_sos, filter_zero_phase

SILENT_S = 5.0  # a longer stretch without beats is told: no pause that a heart gets over by itself is usually so long
STEP_S = 0.1
NEAR_S = 0.5  # a beat as near as that to lost signal is told with it
MOST = 0.5  # of a stretch in which the signal is lost: that is why
SMALL = "signal too small: lead off?"
TOLD = 5  # stretches in words: the files have all


@dataclass(frozen=True)
class Stretch:
    """A stretch without beats from sample `first` to `last`, each a beat or an end of the record, and why it is one.

    `why`: "missing", "flat" or "saturated" (lost signal), SMALL, or "no beats found".
    """

    first: int
    last: int
    why: str


def silent_stretches(record: Record, samples: np.ndarray) -> list[Stretch]:
    """The stretches of `record` longer than SILENT_S between the beats at `samples` (beats,), rising, and its ends."""
    edges = [0, *samples.tolist(), len(record.signal_mv) - 1]
    found = [pair for pair in pairwise(edges) if pair[1] - pair[0] > SILENT_S * record.fs_hz]
    if not found:
        return []
    span_mv = (np.nanmin(record.signal_mv), np.nanmax(record.signal_mv))
    return [Stretch(*pair, _why(record.signal_mv[slice(*pair)], record.fs_hz, span_mv)) for pair in found]


def watched(record: Record) -> SignalWatch:
    """The watch over all of the signal of `record`, which takes seconds for a day of it."""
    watch = SignalWatch(record.fs_hz)
    watch(record.signal_mv)
    return watch


def signal_at(watch: SignalWatch, samples: np.ndarray, fs_hz: float) -> np.ndarray:
    """The state of the signal at each of the beats at `samples`, (beats,): "ok", or "lost" where some is near."""
    reach = round(NEAR_S * fs_hz)
    lost = [watch.lost_between(max(sample - reach, 0), sample + reach) for sample in samples.tolist()]
    return np.where(np.array(lost, bool), "lost", "ok")


def lost_before(watch: SignalWatch, samples: np.ndarray) -> np.ndarray:
    """Whether signal was lost between each beat at `samples` (beats,) and the one before it, (beats,) bool."""
    lost = [watch.lost_between(*pair) for pair in pairwise(samples.tolist())]
    return np.array([False, *lost][: len(samples)], bool)


def _why(signal_mv: np.ndarray, fs_hz: float, span_mv: tuple[float, float]) -> str:
    """Why there are no beats in `signal_mv` (n,), of a record whose lowest and highest samples are `span_mv`."""
    watch, step = SignalWatch(fs_hz), max(round(STEP_S * fs_hz), 1)
    lost: Counter[str] = Counter()
    parts_mv = []
    for start in range(0, len(signal_mv), step):
        parts_mv.append(watch(signal_mv[start : start + step])[0])
        if watch.fault is not None:
            at_rail = watch.fault != "missing" and parts_mv[-1][-1] in span_mv
            lost["saturated" if at_rail else watch.fault] += len(parts_mv[-1])
    if lost.total() > MOST * len(signal_mv):
        return lost.most_common(1)[0][0]
    filled_mv = np.concatenate(parts_mv)
    deflection_mv = np.abs(filter_zero_phase(filled_mv, bandpass_sos(QRS_BAND_HZ, 1, fs_hz)))
    energy_mv = uniform_filter1d(deflection_mv, round(ENERGY_S * fs_hz))
    return SMALL if np.percentile(energy_mv, 95) < LEAST_MV else "no beats found"


def as_json(silent: Sequence[Stretch], fs_hz: float) -> list[dict]:
    """The stretches for a file: samples, seconds, and why."""
    return [
        {
            "first": one.first,
            "last": one.last,
            "first_s": round(one.first / fs_hz, 3),
            "last_s": round(one.last / fs_hz, 3),
            "why": one.why,
        }
        for one in silent
    ]


def in_words(silent: Sequence[dict]) -> str | None:
    """One line on the stretches, as `as_json` gives them; None where there are none."""
    if not silent:
        return None
    total_s = sum(one["last_s"] - one["first_s"] for one in silent)
    parts = [f"{clock(one['first_s'])}-{clock(one['last_s'])} ({one['why']})" for one in silent[:TOLD]]
    more = f" and {len(silent) - TOLD:,} stretches more" if len(silent) > TOLD else ""
    return f"no beats for {total_s:,.0f} s: {', '.join(parts)}{more}"
