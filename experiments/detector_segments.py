"""What a network of R-peaks is shown: 20 s of a recording at another speed, gain and polarity, often with noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import sosfilt

from deep_ecg.beats.beat_network import BAND_HZ, GAIN_HASTE, GAIN_SHARE, NETWORK_HZ, STEP, STEP_HZ, RunningGain
from dsp_filters import bandpass_sos
from experiments import noise
from experiments.detector_data import Recording

HZ = round(NETWORK_HZ)
LENGTH = 20 * HZ
SHARES = {"ds1": 0.27, "svdb": 0.21, "challenge2014": 0.14, "tele": 0.16, "cinc2017": 0.15, "noisy": 0.09}

QRS_REACH = round(0.07 * HZ)
BEAT_WIDTH_S = 0.025  # standard deviation of the bump that the network is to answer a beat with

NOISY_SHARE = 0.65  # of the segments
SNR_DB = (-4.0, 24.0)  # of their noise, against a QRS complex as deep_ecg/beats/noise.py has it
UNREADABLE_DB = -3.0  # noise above it leaves nothing to read; below READABLE_DB it changes nothing
READABLE_DB = 4.0
BLOCKED_SHARE = 0.2  # of the segments with beats that are not conducted
BLOCKED_S, NEXT_P_S = (0.07, 0.45), 0.25  # what such a beat lacks before and after R, but for the next one's P wave
BARE_SHARE, BARE_S = 0.1, 0.07  # of the segments without P and T waves; what is left around R
JOLTED = 0.6  # of the ends of stretches without an electrode
BANK_S = 5400.0  # of recorded noise
SYNTHETIC_S, SYNTHETIC = 30.0, 400  # length and number of stretches of synthetic noise
NOISE_LIMIT = 12.0  # standard deviations


@dataclass(frozen=True)
class Segment:
    """What is learned from LENGTH samples: see `Recording`, whose fields these are."""

    signal_mv: np.ndarray
    beats_s: np.ndarray
    beats_known: np.ndarray
    unreadable: np.ndarray
    quality_known: np.ndarray


class Segments:
    """An endless supply of segments from recordings by database, the same for the same `seed`."""

    def __init__(self, recordings: Mapping[str, Sequence[Recording]], noises: Sequence[np.ndarray], seed: int):
        self._seed, self._rng = seed, np.random.default_rng(seed)
        self._recordings = [list(recordings[name]) for name in SHARES]
        self._shares = np.array(list(SHARES.values())) / sum(SHARES.values())
        lengths = [np.array([max(len(one.signal_mv), LENGTH) for one in group], float) for group in self._recordings]
        self._chances = [length / length.sum() for length in lengths]
        self._recorded = recorded_noise(noises, self._rng)
        stretches = [synthetic_noise(round(SYNTHETIC_S * HZ), self._rng) for _ in range(SYNTHETIC)]
        self._synthetic = np.concatenate(stretches)

    def exchange(self, name: str, recordings: Sequence[Recording]):
        """Takes `recordings`, as many and as long, in the place of those of database `name`."""
        self._recordings[list(SHARES).index(name)] = list(recordings)

    def batch(self, number: int, count: int, delay_steps: int) -> tuple[np.ndarray, ...]:
        """Batch `number`: inputs (count, LENGTH) and, by step, targets and weights of beat and of unreadable signal.

        All are float32; targets lie `delay_steps` late. A number always gives the same batch.
        """
        self._rng = np.random.default_rng([self._seed, number])
        segments = [self._segment() for _ in range(count)]
        inputs = np.stack([self._gained(one.signal_mv) for one in segments])
        beats = np.stack([beat_target(one.beats_s, delay_steps) for one in segments])
        rest = [
            np.stack([delayed(getattr(one, name), delay_steps) for one in segments])
            for name in ("beats_known", "unreadable", "quality_known")
        ]
        return tuple(np.ascontiguousarray(array, np.float32) for array in (inputs, beats, *rest))

    def _gained(self, signal_mv: np.ndarray) -> np.ndarray:
        """Input of the network, as at the start of a record or with a gain that is about right."""
        if self._rng.random() < 0.4:
            return RunningGain()(signal_mv)
        about_mv = np.quantile(np.abs(signal_mv), 1 - GAIN_SHARE) * np.exp(self._rng.normal(0, 0.6))
        return RunningGain(max(float(about_mv), 0.004), GAIN_HASTE)(signal_mv)

    def _segment(self) -> Segment:
        group = self._rng.choice(len(SHARES), p=self._shares)
        at = self._rng.choice(len(self._recordings[group]), p=self._chances[group])
        segment = self._cut(self._recordings[group][at])
        if self._rng.random() < 0.5:
            segment = changed(segment, signal_mv=-segment.signal_mv)
        height_mv = qrs_height_mv(segment)
        if self._rng.random() < BLOCKED_SHARE:
            segment = self._blocked(segment)
        if self._rng.random() < BARE_SHARE:
            segment = self._bare(segment, height_mv)
        if self._rng.random() < 0.15:
            segment = changed(segment, signal_mv=self._other_gain(segment.signal_mv))
        if self._rng.random() < NOISY_SHARE:
            segment = self._noisy(segment, height_mv)
        if self._rng.random() < 0.06:
            segment = self._off(segment, height_mv)
        return changed(segment, signal_mv=segment.signal_mv * np.exp(self._rng.normal(0, 0.7)))

    def _cut(self, one: Recording) -> Segment:
        """A stretch at random, at another speed; what lies behind a short recording teaches nothing."""
        length = len(one.signal_mv)
        speed = np.exp(self._rng.uniform(-0.25, 0.25)) if self._rng.random() < 0.6 else 1.0
        if length < LENGTH * speed + 2:
            speed = 1.0
        last = max(length - int(LENGTH * speed) - 2, 0)
        start = 0 if self._rng.random() < 0.1 else int(self._rng.integers(0, last + 1))
        count = min(LENGTH, int((length - start) / speed))
        places = start + np.arange(count) * speed
        nearest = np.minimum(places.astype(int), length - 1)
        signal_mv = np.zeros(LENGTH)
        signal_mv[:count] = np.interp(places, np.arange(length), one.signal_mv)
        known, unreadable, quality = np.zeros(LENGTH, bool), np.zeros(LENGTH), np.zeros(LENGTH, bool)
        known[:count], unreadable[:count] = one.beats_known[nearest], one.unreadable[nearest]
        quality[:count] = one.quality_known[nearest]
        beats_s = (one.beats_s * HZ - start) / speed / HZ
        return Segment(signal_mv, beats_s[(beats_s > -0.3) & (beats_s < count / HZ + 0.3)], known, unreadable, quality)

    def _other_gain(self, signal_mv: np.ndarray) -> np.ndarray:
        since = self._rng.integers(LENGTH)
        return signal_mv * np.where(np.arange(LENGTH) < since, 1.0, np.exp(self._rng.normal(0, 0.9)))

    def _noisy(self, segment: Segment, height_mv: float) -> Segment:
        added_mv = self._noise_mv(height_mv)
        if self._rng.random() < 0.3:
            added_mv += self._noise_mv(height_mv)
        power = np.convolve(added_mv**2, np.full(HZ, 1 / HZ), "same")
        snr_db = 10 * np.log10(height_mv**2 / 8 / np.maximum(power, 1e-12))
        unreadable = np.maximum(segment.unreadable, snr_db < UNREADABLE_DB)
        doubtful = (snr_db >= UNREADABLE_DB) & (snr_db < READABLE_DB) & (unreadable < 0.5)
        return changed(
            segment,
            signal_mv=segment.signal_mv + added_mv,
            unreadable=unreadable,
            quality_known=segment.quality_known & ~doubtful,
        )

    def _noise_mv(self, height_mv: float) -> np.ndarray:
        """LENGTH samples of noise of a ratio at random, for a part of the time in one case of two."""
        bank = self._recorded if self._rng.random() < 0.5 else self._synthetic
        start, speed = self._rng.integers(0, len(bank) - 2 * LENGTH), np.exp(self._rng.uniform(-0.4, 0.4))
        stretch = np.interp(np.arange(LENGTH) * speed, np.arange(2 * LENGTH), bank[start : start + 2 * LENGTH])
        added_mv = stretch * height_mv / np.sqrt(8) * 10 ** (-self._rng.uniform(*SNR_DB) / 20)
        if self._rng.random() < 0.5:
            return added_mv
        first, end = np.sort(self._rng.integers(0, LENGTH, 2))
        at = np.arange(LENGTH)
        return added_mv * np.convolve((at >= first) & (at < end), np.full(20, 0.05), "same")

    def _blocked(self, segment: Segment) -> Segment:
        """A fifth of the beats lose QRS complex and T wave, as where a P wave is not conducted."""
        signal_mv, lost = segment.signal_mv.copy(), np.zeros(len(segment.beats_s), bool)
        starts = np.round((segment.beats_s - BLOCKED_S[0]) * HZ).astype(int)
        until_s = np.minimum(segment.beats_s + BLOCKED_S[1], np.append(segment.beats_s[1:], np.inf) - NEXT_P_S)
        for at, (first, end) in enumerate(zip(starts.tolist(), (until_s * HZ).astype(int).tolist())):
            if 0 <= first < end < LENGTH and self._rng.random() < 0.2:
                signal_mv[first:end] = np.linspace(signal_mv[first], signal_mv[end], end - first)
                lost[at] = True
        return changed(segment, signal_mv=signal_mv, beats_s=segment.beats_s[~lost])

    def _bare(self, segment: Segment, height_mv: float) -> Segment:
        """Nothing but the QRS complexes is left, where all are known, with some noise between."""
        at, peaks = np.arange(LENGTH), np.round(segment.beats_s * HZ).astype(int)
        kept = np.abs(at[:, None] - peaks).min(axis=1, initial=LENGTH) <= BARE_S * HZ
        if not segment.beats_known.all() or not kept.any():
            return segment
        signal_mv = np.interp(at, at[kept], segment.signal_mv[kept])
        signal_mv[~kept] += self._rng.normal(0, 0.02 * height_mv, (~kept).sum())
        return changed(segment, signal_mv=signal_mv)

    def _off(self, segment: Segment, height_mv: float) -> Segment:
        """The electrode comes off for a few seconds: next to nothing, with or without a jolt before and after it."""
        first = int(self._rng.integers(0, LENGTH - HZ))
        end = min(LENGTH, first + int(self._rng.uniform(1, 7) * HZ))
        signal_mv, unreadable = segment.signal_mv.copy(), segment.unreadable.copy()
        signal_mv[first:end] = self._rng.normal(0, 0.002, end - first) * self._rng.random()
        time = np.arange(40)
        jolt_mv = 2 * height_mv * self._rng.normal() * np.exp(-time / 8) * np.cos(time / 6)
        for at in [at for at in (first, end) if self._rng.random() < JOLTED]:
            signal_mv[at : at + 40] += jolt_mv[: LENGTH - at]
        unreadable[first:end] = 1
        gone = (segment.beats_s > first / HZ - 0.03) & (segment.beats_s < end / HZ + 0.03)
        return changed(segment, signal_mv=signal_mv, unreadable=unreadable, beats_s=segment.beats_s[~gone])


def changed(segment: Segment, **fields: np.ndarray) -> Segment:
    """`segment` with other `fields`."""
    return Segment(**{name: fields.get(name, getattr(segment, name)) for name in Segment.__dataclass_fields__})


def qrs_height_mv(segment: Segment) -> float:
    """The median range of the QRS complexes; without any, twice the 98th percentile of the signal."""
    peaks = (segment.beats_s * HZ).astype(int)
    peaks = peaks[(peaks > QRS_REACH) & (peaks < LENGTH - QRS_REACH - 1)]
    if len(peaks) == 0:
        return max(2 * float(np.percentile(np.abs(segment.signal_mv), 98)), 1e-3)
    heights_mv = np.ptp(segment.signal_mv[peaks[:, None] + np.arange(-QRS_REACH, QRS_REACH + 1)], axis=1)
    return max(float(np.median(heights_mv)), 1e-3)


def beat_target(beats_s: np.ndarray, delay_steps: int) -> np.ndarray:
    """A bump of height 1 for each beat, `delay_steps` late, (LENGTH / STEP,)."""
    time_s = (np.arange(LENGTH // STEP) + 0.5) / STEP_HZ
    target = np.zeros(len(time_s))
    for beat_s in beats_s + delay_steps / STEP_HZ:
        near = slice(max(int(beat_s * STEP_HZ) - 5, 0), max(int(beat_s * STEP_HZ) + 6, 0))
        target[near] = np.maximum(target[near], np.exp(-0.5 * ((time_s[near] - beat_s) / BEAT_WIDTH_S) ** 2))
    return target


def delayed(samples: np.ndarray, delay_steps: int) -> np.ndarray:
    """`samples` (LENGTH,) by step and `delay_steps` late, 0 before."""
    late = np.zeros(LENGTH // STEP)
    late[delay_steps:] = samples[::STEP][: len(late) - delay_steps]
    return late


def unit(samples: np.ndarray) -> np.ndarray:
    """`samples` of noise (n,) with a power of 1 as `noise.noise_power` measures it."""
    power = noise.noise_power(samples, HZ) if len(samples) >= HZ else float(samples.var())
    return samples / max(np.sqrt(power), noise.TINY)


def recorded_noise(noises: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """BANK_S of the stretches `noises` in random order and polarity, each faded in and out."""
    fade, parts, length = np.linspace(0, 1, 30), [], 0
    while length < BANK_S * HZ:
        part = np.clip(unit(noises[int(rng.integers(len(noises)))]), -NOISE_LIMIT, NOISE_LIMIT) * rng.choice((-1, 1))
        part[:30] *= fade
        part[-30:] *= fade[::-1]
        parts.append(part.astype(np.float32))
        length += len(part)
    return np.concatenate(parts)


def synthetic_noise(length: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of one kind at random, filtered as the signal is, of power 1, (length,)."""
    kind, longer = rng.random(), length + 5 * HZ
    if kind < 0.35:
        raw = noise.electrode(longer, HZ, rng)
    elif kind < 0.5:
        raw = noise.muscle(longer, HZ, rng)
    elif kind < 0.8:
        raw = _bursts(longer, rng)
    else:
        raw = _transients(longer, rng)
    return unit(sosfilt(bandpass_sos(BAND_HZ, 2, HZ), raw)[5 * HZ :]).astype(np.float32)


def _bursts(length: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of a band at random whose strength comes and goes."""
    low_hz = rng.uniform(0.3, 10)
    carrier = noise.band(length, HZ, (low_hz, low_hz * rng.uniform(1.5, 6)), rng)
    return carrier * np.exp(rng.uniform(0, 1.2) * noise.band(length, HZ, (0.02, rng.uniform(0.1, 1)), rng))


def _transients(length: int, rng: np.random.Generator) -> np.ndarray:
    """Single deflections of 40 to 500 ms and four shapes, 0.3 to 3 a second."""
    raw, rate_hz = np.zeros(length), rng.uniform(0.3, 3)
    shapes = (
        lambda at: np.exp(-8 * at**2),
        lambda at: -3 * at * np.exp(-8 * at**2),
        lambda at: 1 - np.abs(at),
        lambda at: np.sign(at) * (1 - np.abs(at)),
    )
    for start in rng.integers(0, length, rng.poisson(rate_hz * length / HZ) + 1):
        shape = shapes[rng.integers(4)](np.linspace(-1, 1, int(rng.uniform(4, 50))))
        shape *= np.exp(rng.normal(0, 0.6)) * rng.choice((-1, 1))
        raw[start : start + len(shape)] += shape[: length - start]
    return raw if rng.random() < 0.5 else raw + 0.3 * raw.std() * noise.band(length, HZ, (1, 30), rng)
