"""What `predict` tells of a signal beside its beats: stretches without any, and such that cannot be read, and why."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise

import numpy as np

from deep_ecg.beats.arrays import each
from deep_ecg.beats.inputs import PIECE_SAMPLES
from deep_ecg.beats.signal_quality import LOST, STATES, UNREADABLE
from deep_ecg.beats.signal_watch import Runs, SignalWatch
from deep_ecg.records.long_signal import pieces
from deep_ecg.records.wfdb_files import Record
from deep_ecg.system.text import clock
from dsp_filters import bandpass_sos, filter_zero_phase, periodogram, running_mean

SILENT_S = 5.0  # a longer stretch without beats is told: no pause that a heart gets over by itself is usually so long
STEP_S = 0.1
NEAR_S = 0.5  # a beat as near as that to lost signal is told with it
MOST = 0.5  # of a stretch in which the signal is lost: that is why
SMALL = "signal too small: lead off?"
NO_BEATS = "no beats found"
QRS_BAND_HZ, ENERGY_S = (8.0, 25.0), 0.08
LEAST_MV = 0.004  # less energy of the QRS band is the last bit of a converter

UNREAD_S = 1.0  # a stretch that cannot be read is told if it is as long
AT_RAIL = 0.1  # of its samples at the record's highest or lowest value: saturated
JUDGED_S = 3600.0  # of a stretch, from its start on: so much tells why nothing can be read, or no beats were found
KIND_S = 60.0  # what it is told from
MAINS_HZ = (50.0, 60.0)
WANDER_HZ, MUSCLE_HZ = 2.0, 20.0  # the power of wander lies below, that of muscle mostly above
MOST_POWER = 0.5  # of that above WANDER_HZ: more is of mains, or of muscle
TOLD = 5  # stretches in words: the files have all


@dataclass(frozen=True)
class Stretch:
    """A stretch from sample `first` to `last`, and why it is one.

    Of a stretch without beats, whose ends are beats or ends of the record: "missing", "flat" or "saturated" (lost
    signal), SMALL, or NO_BEATS. Of one that cannot be read: "missing", "lead off", "saturated", "mains",
    "muscle" or "motion".
    """

    first: int
    last: int
    why: str


def silent_stretches(record: Record, samples: np.ndarray) -> list[Stretch]:
    """The stretches of `record` longer than SILENT_S between the beats at `samples` (beats,), rising, and its ends."""
    edges = np.concatenate(([0], samples, [len(record.signal_mv) - 1]))
    long = np.flatnonzero(np.diff(edges) > SILENT_S * record.fs_hz)
    found = list(zip(edges[long].tolist(), edges[long + 1].tolist()))
    if not found:
        return []
    parts_mv = (record.signal_mv[_judged(*pair, record.fs_hz)] for pair in found)
    return [Stretch(*pair, _why(part_mv, record.fs_hz, record.span_mv)) for pair, part_mv in zip(found, parts_mv)]


def watched(record: Record) -> SignalWatch:
    """The watch over all of the signal of `record`, which takes seconds for a day of it."""
    watch = SignalWatch(record.fs_hz)
    for piece_mv in pieces(record.signal_mv, PIECE_SAMPLES):
        watch(piece_mv)
    return watch


def signal_at(watch: SignalWatch, samples: np.ndarray, fs_hz: float, states: Runs | None = None) -> np.ndarray:
    """The state of the signal at each of the beats at `samples`, (beats,): that of STATES, "lost" where some is near.

    `states` are those of `Reading`; without them it is "ok" elsewhere.
    """
    reach = round(NEAR_S * fs_hz)
    lost = (watch.lost_between(max(sample - reach, 0), sample + reach) for sample in each(samples))
    is_lost = np.fromiter(lost, bool, len(samples))
    at_beats = np.full(len(samples), "ok") if states is None else np.array(STATES)[states[samples]]
    return np.where(is_lost & (at_beats != STATES[UNREADABLE]), "lost", at_beats)


def unread_stretches(record: Record, states: Runs) -> list[Stretch]:
    """The stretches of UNREAD_S and more in which nothing can be read by the `states` of `Reading`."""
    long = states.stretches(states.values >= UNREADABLE)
    found = [one for one in long if one[1] - one[0] >= UNREAD_S * record.fs_hz]
    parts = ((one, _judged(one[0], one[1] + 1, record.fs_hz)) for one in found)
    return [
        Stretch(*one, why_unread(record.signal_mv[part], states[part], record.fs_hz, record.span_mv))
        for one, part in parts
    ]


def _judged(first: int, end: int, fs_hz: float) -> slice:
    """What a stretch from sample `first` to before `end` is judged by."""
    return slice(first, min(end, first + round(JUDGED_S * fs_hz)))


def why_unread(signal_mv: np.ndarray, states: np.ndarray, fs_hz: float, span_mv: Sequence[float]) -> str:
    """Why `signal_mv` (n,) cannot be read, of a record whose lowest and highest samples are `span_mv`."""
    known_mv = signal_mv[np.isfinite(signal_mv)]
    if len(known_mv) < MOST * len(signal_mv):
        return "missing"
    at_rail = np.isin(known_mv, span_mv).mean() > AT_RAIL
    if (states == LOST).mean() > MOST or _is_small(known_mv, fs_hz):
        return "saturated" if at_rail else "lead off"
    return "saturated" if at_rail else noise_kind(known_mv[: round(KIND_S * fs_hz)], fs_hz)


def noise_kind(signal_mv: np.ndarray, fs_hz: float) -> str:
    """What drowns the ECG in `signal_mv` (n,) by where its power lies: "mains", "muscle" or "motion"."""
    frequencies_hz, power = periodogram(signal_mv, fs_hz)

    def share(low_hz: float, high_hz: float) -> float:
        inside = power[(frequencies_hz > low_hz) & (frequencies_hz < high_hz)].sum()
        return float(inside / max(power[frequencies_hz > WANDER_HZ].sum(), np.finfo(float).tiny))

    if max(share(mains_hz - 1, mains_hz + 1) for mains_hz in MAINS_HZ) > MOST_POWER:
        return "mains"
    return "muscle" if share(MUSCLE_HZ, np.inf) > MOST_POWER else "motion"


def unread_share(unread: Sequence[Stretch], silent: Sequence[Stretch], length: int) -> float:
    """The share of `length` samples in one of the stretches at least."""
    inside = end = 0
    for one in sorted((*unread, *silent), key=lambda one: one.first):
        inside += max(one.last + 1 - max(one.first, end), 0)
        end = max(end, one.last + 1)
    return inside / length if length else 0.0


def outside(stretches: Sequence[Stretch], others: Sequence[Stretch]) -> list[Stretch]:
    """What of the `stretches` lies in none of the `others`."""
    parts, rising = [], sorted(others, key=lambda other: other.first)
    for one in stretches:
        first = one.first
        for other in rising:
            if first <= other.last and other.first <= one.last:
                parts += [replace(one, first=first, last=other.first - 1)] * (first < other.first)
                first = other.last + 1
        parts += [replace(one, first=first)] * (first <= one.last)
    return parts


def unread_in_words(unread: Sequence[dict]) -> str | None:
    """One line on the stretches that cannot be read, as `as_json` gives them; None where there are none."""
    return _in_words("not readable", unread)


def taken_over_in_words(taken_over: Sequence[dict]) -> str | None:
    """One line on the stretches in which another lead took over, as `as_json` gives them; None where there are none."""
    return _in_words("labelled from another lead, where the first could not be read,", taken_over)


def lost_before(watch: SignalWatch, samples: np.ndarray) -> np.ndarray:
    """Whether signal was lost between each beat at `samples` (beats,) and the one before it, (beats,) bool."""
    lost = (watch.lost_between(*pair) for pair in pairwise(each(samples)))
    return np.fromiter(chain([False], lost), bool, len(samples))


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
    return SMALL if _is_small(np.concatenate(parts_mv), fs_hz) else NO_BEATS


def _is_small(signal_mv: np.ndarray, fs_hz: float) -> bool:
    band_hz = QRS_BAND_HZ[0], min(QRS_BAND_HZ[1], 0.45 * fs_hz)
    deflection_mv = np.abs(filter_zero_phase(signal_mv, bandpass_sos(band_hz, 1, fs_hz)))
    energy_mv = running_mean(deflection_mv, round(ENERGY_S * fs_hz), "symmetric")
    return bool(np.percentile(energy_mv, 95) < LEAST_MV)


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
    return _in_words("no beats", silent)


def _in_words(what: str, told: Sequence[dict]) -> str | None:
    if not told:
        return None
    total_s = sum(one["last_s"] - one["first_s"] for one in told)
    parts = [f"{clock(one['first_s'])}-{clock(one['last_s'])} ({one['why']})" for one in told[:TOLD]]
    more = f" and {len(told) - TOLD:,} stretches more" if len(told) > TOLD else ""
    return f"{what} for {total_s:,.0f} s: {', '.join(parts)}{more}"
