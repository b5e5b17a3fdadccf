"""Replays: a training patient's ECG played again in another rhythm, with other ectopic beats, lead and noise.

DS1 holds 944 S beats, most of them of seven patients: too few to learn what an S beat is. A replay takes a record and
shifts its cycles in time (each keeps its own P-QRS-T; the diastole is shortened or drawn out), and so lets normal beats
come early, alone, in patterns and in runs (S), or without P waves in an irregular rhythm (N, as in atrial fibrillation
and flutter), or with beats dropped (N, as in second-degree block). Some normal beats give way to ventricular ones of
other patients (V) or merge with them (F). The labels follow from the construction. Nothing here is used in testing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from config import CLASSES
from deep_ecg.beats.strip import Strip
from dsp_filters import FLAT_MV, bandpass_sos, filter_zero_phase, lowpass_sos

VERSION = 4  # raised when replays change
N, S, V, F = (CLASSES.index(name) for name in "NSVF")


@dataclass(frozen=True)
class Rhythms:
    """In which rhythms stretches of beats are replayed: how often each is taken, and for how many beats at a time."""

    shares: Mapping[str, float]
    usual_beats: tuple[int, int]
    beats: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # of those that do not last as long as usual


LASTING_BEATS = (100, 800)  # running statistics need time to show such a rhythm
RHYTHMS = Rhythms(
    shares={
        "own": 0.12,  # as recorded
        "sinus": 0.05,
        "arrhythmia": 0.12,  # sinus arrhythmia: the intervals swing with the breath; N
        "isolated": 0.165,  # single S beats
        "patterned": 0.06,  # bigeminy, trigeminy, quadrigeminy
        "runs": 0.11,
        "fibrillation": 0.16,  # irregular, without P waves; N
        "flutter": 0.02,  # every second to fifth atrial wave is conducted, waves in place of P waves; N
        "block": 0.015,  # second degree: 2:1, Wenckebach, single dropped beats; N
        "ramp": 0.045,  # the rate rises or falls and returns; N
        "pauses": 0.03,  # N
        "dense": 0.105,  # more S beats than N
    },
    usual_beats=(30, 300),
    beats={"fibrillation": LASTING_BEATS, "flutter": LASTING_BEATS, "block": (50, 400)},
)
BEFORE_R_S, AFTER_R_S = 0.24, 0.40  # the part of a cycle that is moved as a whole where the intervals leave room
P_S = (-0.24, -0.05)  # span of the P wave around R
IMPLANT_S = (-0.16, 0.40)  # span of an implanted V beat around R
QRS_HALF_S = 0.08
DONOR_BEATS = 40  # of one patient
SHORTEST_S, LONGEST_S = 0.27, 2.8  # new intervals
CONDENSED_BEATS = 5
GAP_S = 3.0  # a longer interval is left as it is
BLOCK_SAMPLES = 2**13  # what stays in the processor's cache


def replay(strip: Strip, donors: list[np.ndarray], rng: np.random.Generator, rhythms: Rhythms = RHYTHMS) -> Strip:
    """`strip` in another rhythm, seen by another lead, with other noise: one lead, new peaks and labels.

    `donors` are V beats of patients, one array of `donor_beats` each; the last is the patient's own where there is one.
    """
    coupling = np.full((len(strip.peaks), 2), np.nan)
    if donors and rng.random() < 0.7:
        strip, coupling = _implant(strip, donors, rng)
    if rng.random() < 0.5:
        strip = _stretch(strip, np.exp(rng.uniform(-0.2, 0.25)))
    strip = _retimed(_projected(strip, rng), coupling, rng, rhythms)
    signal_mv = _noisy(strip.leads_mv[:, 0], strip.fs_hz, rng)
    peaks = _jittered(strip.peaks, len(signal_mv), strip.fs_hz, rng) if rng.random() < 0.4 else strip.peaks
    inside = peaks < len(signal_mv)
    return Strip(signal_mv[:, None], strip.fs_hz, peaks[inside], strip.labels[inside], strip.after_gap[inside])


def donor_beats(strip: Strip) -> np.ndarray | None:
    """V beats of `strip` to implant elsewhere, (beats, samples, leads), or None where it has none.

    Their ends lie on 0, and the unit is the QRS amplitude of the patient's own N beats over both leads.
    """
    inside = _inside(strip)
    clear = np.diff(strip.peaks, append=strip.peaks[-1] + 10**9) > IMPLANT_S[1] * strip.fs_hz
    ventricular = strip.peaks[inside & clear & (strip.labels == V)]
    normal = strip.peaks[inside & (strip.labels == N)]
    if len(ventricular) == 0 or len(normal) == 0:
        return None
    chosen = ventricular[np.unique(np.linspace(0, len(ventricular) - 1, DONOR_BEATS).astype(int))]
    segments = _segments(strip, chosen)
    return (segments - _between_ends(segments)) / _qrs_amplitude(strip, normal)


def _implant(strip: Strip, donors: list[np.ndarray], rng: np.random.Generator) -> tuple[Strip, np.ndarray]:
    """Some N beats among N beats turned into V or F.

    The second result (beats, 2) holds the intervals before and after these, over the usual one; NaN elsewhere.
    """
    coupling = np.full((len(strip.peaks), 2), np.nan)
    normal = np.flatnonzero(_among_normal(strip.labels) & _inside(strip))
    if len(normal) == 0:
        return strip, coupling
    share = rng.uniform(0.01, 0.12)
    chosen = np.sort(rng.permutation(normal)[: round(len(normal) * share)])
    chosen = chosen[np.diff(chosen, prepend=-2) > 1]
    leads_mv, labels = strip.leads_mv.copy(), strip.labels.copy()
    pool = [donors[k] for k in rng.permutation(len(donors))[:3]] + [donors[-1]] * 2
    scales = _qrs_amplitude(strip, strip.peaks[normal]) * np.exp(rng.normal(0, 0.25, len(pool)))
    usual_coupling = rng.uniform(0.5, 0.85)
    for beat, start in zip(chosen, strip.peaks[chosen] + round(IMPLANT_S[0] * strip.fs_hz)):
        donor = int(rng.integers(len(pool)))
        shape = pool[donor][int(rng.integers(len(pool[donor])))]
        shape = shape[:, np.arange(leads_mv.shape[1]) % shape.shape[1]]  # patients differ in their number of leads
        shape_mv = shape * scales[donor] * (-1 if rng.random() < 0.15 else 1)
        own_mv = strip.leads_mv[start : start + len(shape_mv)]
        fused = rng.random() < 0.25
        own_share = rng.uniform(0.4, 0.85) if fused else 0.0
        line_mv = _between_ends(own_mv[None])[0]
        new_mv = line_mv + own_share * (own_mv - line_mv) + (1 - own_share) * shape_mv
        leads_mv[start : start + len(shape_mv)] += _taper(len(shape_mv), strip.fs_hz)[:, None] * (new_mv - own_mv)
        labels[beat] = F if fused else V
        coupling[beat] = _coupling(fused, usual_coupling, rng)
    return Strip(leads_mv, strip.fs_hz, strip.peaks, labels, strip.after_gap), coupling


def _coupling(fused: bool, usual: float, rng: np.random.Generator) -> tuple[float, float]:
    """Intervals before and after an implanted beat over the usual one: a fusion beat comes almost in time."""
    if fused:
        return np.clip(rng.normal(0.93, 0.06), 0.75, 1.05), rng.normal(1.05, 0.05)
    pause = rng.uniform(1.15, 1.6) if rng.random() < 0.8 else rng.uniform(0.9, 1.1)
    return np.clip(rng.normal(usual, 0.05), 0.4, 1.0), pause


def _segments(strip: Strip, peaks: np.ndarray) -> np.ndarray:
    span = np.arange(*(round(second * strip.fs_hz) for second in IMPLANT_S))
    return strip.leads_mv[peaks[:, None] + span]


def _between_ends(segments_mv: np.ndarray) -> np.ndarray:
    """The straight line between the first and last sample of each segment (segments, samples, leads)."""
    along = np.linspace(0, 1, segments_mv.shape[1])[:, None]
    return segments_mv[:, :1] * (1 - along) + segments_mv[:, -1:] * along


def _qrs_amplitude(strip: Strip, peaks: np.ndarray) -> float:
    span = np.arange(-round(QRS_HALF_S * strip.fs_hz), round(QRS_HALF_S * strip.fs_hz))
    heights_mv = np.ptp(strip.leads_mv[peaks[::7][:, None] + span], axis=1)  # (beats, leads)
    return max(float(np.median(np.linalg.norm(heights_mv, axis=1))), FLAT_MV)


def _inside(strip: Strip) -> np.ndarray:
    reach = 2 * IMPLANT_S[1] * strip.fs_hz
    return (strip.peaks > reach) & (strip.peaks < len(strip.leads_mv) - reach)


def _among_normal(labels: np.ndarray) -> np.ndarray:
    normal = np.pad(labels == N, 1)
    return normal[:-2] & normal[1:-1] & normal[2:]


def _taper(length: int, fs_hz: float) -> np.ndarray:
    at_s = np.arange(length) / fs_hz
    return np.clip(np.minimum(at_s / 0.03, at_s[::-1] / 0.05), 0, 1)


def _retimed(strip: Strip, coupling: np.ndarray, rng: np.random.Generator, rhythms: Rhythms = RHYTHMS) -> Strip:
    """`strip` (one lead) with new RR intervals; beats that come early by construction are S."""
    old = np.diff(strip.peaks, prepend=strip.peaks[0])
    gap = strip.after_gap | (old > GAP_S * strip.fs_hz)
    gap[0] = True
    rr_s = np.where(gap, np.nan, old / strip.fs_hz)
    new_s, early, fibrillating, waves = new_intervals(rr_s, strip.labels, coupling, rng, rhythms)
    usual_p = np.where(fibrillating | (waves > 0), 0.0, 1.0)
    p_factor = np.where(early, rng.choice(rng.uniform(-1, 1.2, 3), len(old)), usual_p)
    signal_mv = scale_p_waves(strip.leads_mv[:, 0], strip.peaks, p_factor, strip.fs_hz)
    new = np.where(gap, old, np.round(np.nan_to_num(new_s) * strip.fs_hz)).astype(np.int64)
    signal_mv, peaks = retime(signal_mv, strip.peaks, new, strip.fs_hz)
    signal_mv = signal_mv + _fibrillatory_waves(peaks, fibrillating, signal_mv, strip.fs_hz, rng)
    signal_mv = signal_mv + _flutter_waves(peaks, waves, signal_mv, rng)
    return Strip(signal_mv[:, None], strip.fs_hz, peaks, np.where(early, S, strip.labels), gap)


def new_intervals(
    rr_s: np.ndarray,
    labels: np.ndarray,
    coupling: np.ndarray,
    rng: np.random.Generator,
    rhythms: Rhythms = RHYTHMS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """New RR intervals of a patient's beats, stretch by stretch in one of the `rhythms`.

    rr_s (beats,) ends at each beat and is NaN where there is none; `coupling` as `_implant` gives it. Beats that are
    not N keep their own prematurity, and so do those that follow them. Returns the intervals in seconds (beats,), NaN
    as in rr_s, which N beats were made early, which N beats lie in fibrillation, and how many flutter waves (beats,)
    lie in the interval that ends at each N beat, 0 outside flutter.
    """
    ratio, median_s = _recorded_ratios(rr_s)
    implanted = np.flatnonzero(np.isfinite(coupling[:, 0]))
    ratio[implanted] = coupling[implanted, 0]
    followed = implanted[implanted + 1 < len(ratio)]
    ratio[followed + 1] = coupling[followed, 1]
    normal, after_normal = labels == N, np.pad(labels == N, (1, 0), constant_values=True)[:-1]
    among = _among_normal(labels)
    early, fibrillating, waves = (np.zeros(len(rr_s), kind) for kind in (bool, bool, np.int64))
    start = 0
    while start < len(rr_s):
        rhythm = str(rng.choice(list(rhythms.shares), p=list(rhythms.shares.values())))
        stretch = slice(start, start + int(rng.integers(*rhythms.beats.get(rhythm, rhythms.usual_beats))))
        made, early[stretch], waves[stretch] = _stretch_of(rhythm, ratio[stretch], among[stretch], rng)
        ratio[stretch] = np.where(normal[stretch] & after_normal[stretch], made, ratio[stretch])
        fibrillating[stretch] = rhythm == "fibrillation"
        start = stretch.stop
    usual_s = np.clip(median_s * rng.uniform(0.75, 1.35), 0.42, 1.3)
    new_s = np.clip(usual_s * np.clip(ratio, 0.35, 2.6), SHORTEST_S, LONGEST_S)
    known = np.isfinite(rr_s)  # a beat after a gap keeps its place: it comes after no interval that could be short
    return np.where(known, new_s, np.nan), early & known, fibrillating & normal, np.where(known & normal, waves, 0)


def _recorded_ratios(rr_s: np.ndarray) -> tuple[np.ndarray, float]:
    """Each interval over the median of the 21 around it, and the median of all; a missing one is taken as usual."""
    known = np.isfinite(rr_s)
    median_s = float(np.median(rr_s[known])) if known.any() else 0.8
    filled = np.where(known, rr_s, median_s)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(filled, 10, mode="edge"), 21)
    return filled / np.median(around, axis=1), median_s


def _stretch_of(rhythm: str, own: np.ndarray, free: np.ndarray, rng: np.random.Generator) -> tuple:
    """Intervals of a stretch over the usual one, which of its `free` beats come early, flutter waves in each interval.

    `own` are the intervals as recorded.
    """
    count = len(own)
    ratio = 1 + rng.normal(0, rng.uniform(0.01, 0.03), count)
    early = _early_beats(rhythm, count, rng)
    waves = _conducted(count, rng) if rhythm == "flutter" else np.zeros(count, np.int64)
    ratio = own if rhythm == "own" else _in_rhythm(rhythm, ratio, waves, rng)
    if rng.random() < 0.5:  # the breath is in every rhythm
        ratio = ratio * (1 + rng.uniform(0.02, 0.08) * np.sin(2 * np.pi * np.arange(count) / rng.uniform(4, 7)))
    return *_with_early(ratio, early & free, free, rng), waves


def _early_beats(rhythm: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Which of `count` beats come early in the `rhythm`, (count,) bool."""
    if rhythm == "isolated":
        return rng.random(count) < rng.uniform(0.02, 0.3)
    if rhythm == "patterned":
        return np.arange(count) % rng.integers(2, 5) == 1
    if rhythm in ("runs", "dense"):
        return _runs(count, (1, 4) if rhythm == "dense" else (4, 30), rng)
    return np.zeros(count, bool)


def _in_rhythm(rhythm: str, ratio: np.ndarray, waves: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Intervals over the usual one in the `rhythm`, without early beats; `ratio` are those of a steady sinus rhythm."""
    count = len(ratio)
    beat = np.arange(count)
    if rhythm == "arrhythmia":
        breath = np.sin(2 * np.pi * beat / rng.uniform(3, 9) + rng.uniform(0, 2 * np.pi))
        return ratio + rng.uniform(0.05, 0.2) * breath
    if rhythm == "fibrillation":
        return rng.uniform(0.65, 1.1) * np.exp(rng.normal(0, rng.uniform(0.12, 0.28), count))
    if rhythm == "flutter":
        return ratio * waves * rng.uniform(0.22, 0.36)
    if rhythm == "block":
        return ratio * _blocked(count, rng) * rng.uniform(0.7, 1.1)
    if rhythm == "ramp":
        return ratio * (1 + rng.uniform(-0.4, 0.4) * np.sin(np.pi * beat / count) ** 2)
    if rhythm == "pauses":
        return ratio * np.where(rng.random(count) < 0.06, rng.uniform(1.4, 2.4, count), 1)
    return ratio


def _conducted(count: int, rng: np.random.Generator) -> np.ndarray:
    """How many flutter waves there are to each of `count` beats, 2 to 5: constant for a while, or ever changing."""
    waves = np.empty(count, np.int64)
    now, change = rng.integers(2, 6), rng.choice([0.05, 0.3, 0.6])
    for i in range(count):
        if rng.random() < change:
            now = np.clip(now + rng.integers(-2, 3), 2, 5)
        waves[i] = now
    return waves


def _blocked(count: int, rng: np.random.Generator) -> np.ndarray:
    """Intervals over the atrial one in second-degree block: 2:1, 1:1, Wenckebach, single dropped beats, in turns."""
    parts, made = [], 0
    while made < count:
        length = int(rng.integers(5, 40))
        kind = rng.choice(["2:1", "1:1", "Wenckebach", "dropped"])
        if kind == "Wenckebach":
            part = np.concatenate([_wenckebach(int(rng.integers(2, 6))) for _ in range(length // 3)])
        else:
            dropped = {"2:1": 1.0, "1:1": 0.0}.get(kind, rng.uniform(0.05, 0.4))
            part = np.where(rng.random(length) < dropped, 2.0, 1.0)
        parts.append(part)
        made += len(part)
    return np.concatenate(parts)[:count]


def _wenckebach(beats: int) -> np.ndarray:
    """Intervals of one Wenckebach cycle over the atrial one: the pause, shorter than two, then ever shorter ones."""
    return np.array([1.8, *(1 + 0.12 * np.exp(-np.arange(beats - 1.0)))])


def _runs(count: int, between: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Runs of early beats, most short and some long, with `between` beats from one to the next, (count,)."""
    early = np.zeros(count, bool)
    start = int(rng.integers(3, 8))
    while start < count:
        length = int(rng.integers(2, 8) if rng.random() < 0.6 else rng.integers(5, 40))
        early[start : start + length] = True
        start += length + int(rng.integers(*between))
    return early


def _with_early(ratio: np.ndarray, early: np.ndarray, free: np.ndarray, rng: np.random.Generator) -> tuple:
    """`ratio` with the early beats early, and a pause, if a `free` beat comes there, after the last of each run."""
    prematurity = rng.normal(rng.uniform(0.5, 0.85), rng.uniform(0.02, 0.08), len(ratio))
    paused = np.pad(early, (1, 0))[:-1] & ~early & free
    pause = rng.normal(rng.uniform(0.95, 1.35), 0.04, len(ratio))
    return np.where(early, np.clip(prematurity, 0.42, 0.9), np.where(paused, pause, ratio)), early


def retime(signal_mv: np.ndarray, peaks: np.ndarray, new: np.ndarray, fs_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """`signal_mv` (samples,) with its cycles moved so that `new` samples lie before each of `peaks` (the first stays).

    From BEFORE_R_S before R to AFTER_R_S after it, or as much of that as the intervals leave room for, a cycle is moved
    as a whole; what lies between is shortened or drawn out. Returns the new signal and its R-peaks.
    """
    old = np.diff(peaks, prepend=peaks[0])
    moved = peaks[0] + np.cumsum(new) - new[0]
    open_end = (BEFORE_R_S + AFTER_R_S + 1) * fs_hz  # room before the first beat and after the last
    least = np.concatenate(([open_end], np.minimum(old, new)[1:], [open_end]))
    before = np.minimum(BEFORE_R_S * fs_hz, 0.42 * least)
    most = least[1:] - before[1:] - 0.05 * fs_hz
    after = np.clip(most, np.minimum(0.12 * fs_hz, 0.3 * least[1:]), AFTER_R_S * fs_hz)
    offsets = np.stack([-before[:-1], after], axis=1)
    at = np.arange(int(moved[-1] + after[-1] + 0.5 * fs_hz))
    source = np.interp(at, (moved[:, None] + offsets).ravel(), (peaks[:, None] + offsets).ravel())
    source = np.where(at < moved[0] - before[0], at, source)
    return _between_samples(signal_mv, source), moved


def _between_samples(signal_mv: np.ndarray, at: np.ndarray) -> np.ndarray:
    """`signal_mv` (samples,) at the places `at` (n,), in samples, as `np.interp` has it, which has to look for them."""
    slopes_mv = np.diff(signal_mv, append=signal_mv[-1])
    found_mv = np.empty(len(at))
    for start in range(0, len(at), BLOCK_SAMPLES):
        block = slice(start, start + BLOCK_SAMPLES)
        places = at[block].clip(0, len(signal_mv) - 1)
        before = places.astype(np.int64)
        found_mv[block] = (places - before) * slopes_mv[before] + signal_mv[before]
    return found_mv


def scale_p_waves(signal_mv: np.ndarray, peaks: np.ndarray, factor: np.ndarray, fs_hz: float) -> np.ndarray:
    """`signal_mv` (samples,) with each beat's P wave, above the line between its ends, times `factor` (beats,)."""
    start, stop = (round(second * fs_hz) for second in P_S)
    chosen = (factor != 1) & (peaks + start >= 0)
    span = peaks[chosen, None] + np.arange(start, stop)
    waves_mv = signal_mv[span][:, :, None]
    change_mv = (factor[chosen, None] - 1) * (waves_mv - _between_ends(waves_mv))[:, :, 0]
    changed_mv = signal_mv.copy()
    np.add.at(changed_mv, span, change_mv)
    return changed_mv


def _fibrillatory_waves(
    peaks: np.ndarray, fibrillating: np.ndarray, signal_mv: np.ndarray, fs_hz: float, rng: np.random.Generator
) -> np.ndarray:
    """Waves of 4 to 9 Hz from the beat before each fibrillating one to itself, (samples,)."""
    inside = np.zeros(len(signal_mv) + 1)
    starts = np.concatenate(([0], peaks[:-1]))[fibrillating]
    np.add.at(inside, starts, 1)
    np.add.at(inside, np.minimum(peaks[fibrillating], len(signal_mv)), -1)
    centre_hz = rng.uniform(4.5, 8)
    sos = bandpass_sos((centre_hz - 1, centre_hz + 1.5), 2, fs_hz)
    waves = filter_zero_phase(rng.normal(size=len(signal_mv)), sos)
    height_mv = rng.uniform(0.01, 0.06) * np.ptp(np.percentile(signal_mv, (2, 98)))
    return np.cumsum(inside)[:-1] * waves * height_mv / waves.std()


def _flutter_waves(
    peaks: np.ndarray, waves: np.ndarray, signal_mv: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """As many waves as `waves` (beats,) says from the beat before each to itself, (samples,)."""
    if not waves.any():
        return np.zeros(len(signal_mv))
    at = np.arange(len(signal_mv))
    phase = 2 * np.pi * np.interp(at, peaks, np.cumsum(waves) + rng.random())
    shape = np.sin(phase) + rng.uniform(-0.5, 0.5) * np.sin(2 * phase + rng.uniform(0, 2 * np.pi))
    inside = np.append(waves > 0, False)[np.searchsorted(peaks, at)]
    height_mv = rng.uniform(0.01, 0.08) * np.ptp(np.percentile(signal_mv, (2, 98)))
    return inside * shape * height_mv / np.sqrt(0.5)


def condensed(strip: Strip, label: int) -> Strip:
    """The cycles of the beats of class `label` and of two beats before and after each, put together.

    A patient with some such beats becomes one with many. Empty where `strip` has fewer than CONDENSED_BEATS of them.
    """
    wanted = strip.labels == label
    if wanted.sum() < CONDENSED_BEATS:
        empty = np.empty(0, np.int64)
        return Strip(np.empty((0, strip.leads_mv.shape[1])), strip.fs_hz, empty, empty, np.empty(0, bool))
    near = np.flatnonzero(np.convolve(wanted, np.ones(5), mode="same") > 0)
    starts = np.maximum(strip.peaks - round(BEFORE_R_S * strip.fs_hz), 0)
    stops = np.append(starts[1:], len(strip.leads_mv))
    cycles = [strip.leads_mv[start:stop] for start, stop in zip(starts[near], stops[near])]
    offsets = np.cumsum([0, *(len(cycle) for cycle in cycles)])[:-1]
    peaks = offsets + strip.peaks[near] - starts[near]
    return Strip(np.concatenate(cycles), strip.fs_hz, peaks, strip.labels[near], strip.after_gap[near])


def _projected(strip: Strip, rng: np.random.Generator) -> Strip:
    """One lead: the first, at times inverted, or a mixture of two, as another electrode position would see it."""
    first_mv = strip.leads_mv[:, 0]
    if strip.leads_mv.shape[1] < 2 or rng.random() < 0.4:
        lead_mv = first_mv * (-1 if rng.random() < 0.15 else 1)
    elif rng.random() < 0.25:
        lead_mv = strip.leads_mv[:, 1]
    else:
        angle = rng.uniform(-np.pi, np.pi)
        lead_mv = np.cos(angle) * first_mv + np.sin(angle) * strip.leads_mv[:, 1]
    return Strip(lead_mv[:, None], strip.fs_hz, strip.peaks, strip.labels, strip.after_gap)


def _stretch(strip: Strip, factor: float) -> Strip:
    """Everything slower by `factor`: wider waves and longer intervals."""
    count = int(len(strip.leads_mv) * factor)
    at = np.arange(count) / factor
    leads_mv = [_between_samples(lead_mv, at) for lead_mv in strip.leads_mv.T]
    peaks = np.minimum(np.round(strip.peaks * factor).astype(np.int64), count - 1)
    return Strip(np.stack(leads_mv, axis=1), strip.fs_hz, peaks, strip.labels, strip.after_gap)


def _noisy(signal_mv: np.ndarray, fs_hz: float, rng: np.random.Generator) -> np.ndarray:
    """`signal_mv` (samples,) band-limited and with muscle noise, baseline wander and mains, each in some replays."""
    amplitude_mv = max(float(np.percentile(np.abs(signal_mv - np.median(signal_mv)), 98)), FLAT_MV)
    time_s = np.arange(len(signal_mv)) / fs_hz
    if rng.random() < 0.5:
        signal_mv = filter_zero_phase(signal_mv, lowpass_sos(rng.uniform(30, 60), 3, fs_hz))
    if rng.random() < 0.5:
        signal_mv = signal_mv + amplitude_mv * 10 ** rng.uniform(-2.2, -1.0) * rng.normal(size=len(signal_mv))
    if rng.random() < 0.4:
        wander = np.sin(2 * np.pi * rng.uniform(0.15, 0.4) * time_s + rng.uniform(0, 2 * np.pi))
        signal_mv = signal_mv + amplitude_mv * 10 ** rng.uniform(-1.2, -0.2) * wander
    if rng.random() < 0.3:
        mains = np.sin(2 * np.pi * rng.choice([50, 60]) * time_s)
        signal_mv = signal_mv + amplitude_mv * 10 ** rng.uniform(-2, -0.5) * mains
    return signal_mv


def _jittered(peaks: np.ndarray, length: int, fs_hz: float, rng: np.random.Generator) -> np.ndarray:
    """`peaks` (beats,) as a detector may place them: a little off, now and then on another deflection of the QRS."""
    off_s = rng.normal(0, rng.uniform(0.001, 0.006), len(peaks))
    jump_s = np.where(rng.random(len(peaks)) < rng.uniform(0, 0.08), rng.uniform(-0.05, 0.05, len(peaks)), 0)
    moved = np.clip(peaks + np.round((off_s + jump_s) * fs_hz).astype(np.int64), 0, length - 1)
    return np.maximum.accumulate(moved)
