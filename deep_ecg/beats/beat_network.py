"""R-peaks and signal quality of one lead by a small network: the same arithmetic in a stream, for a record and in C.

A band-passed signal at NETWORK_HZ is divided by a running gain, squashed into int8 and read by dilated convolutions at
STEP_HZ, in whole numbers throughout: sums of products have no order, so that nothing depends on the size of the chunks
nor on the library that multiplies. The network answers a fixed delay late. That of the causal form is short enough for
a beat to be told within 150 ms of its R-peak; that of the whole-record form lets it see as far ahead as back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deep_ecg.beats.detector import RATES_HZ, one_row
from deep_ecg.beats.signal_watch import SignalWatch
from deep_ecg.system.errors import DeepECGError
from dsp_filters import CausalResampler, OnePassFilter, bandpass_sos

NETWORK_HZ = 100.0
STEP = 2  # samples at NETWORK_HZ; the network answers once for so many
STEP_HZ = NETWORK_HZ / STEP
BAND_HZ = (2.0, 25.0)  # without wander below, mains and most of muscle noise above

# The running gain, near the QRS complex's foot: exceeded for GAIN_SHARE of the time
GAIN_BLOCK = 10  # samples at NETWORK_HZ between its changes
GAIN_SHARE = 0.15
GAIN_RATE = 0.2  # of its logarithm, a block in which all samples exceed it and none
GAIN_START_MV = 0.1
GAIN_LEAST_MV = 0.004  # less is the last bit of a converter
GAIN_HASTE = 10  # changes in the first block, half as many in the second, and so on: it is found within a second
GAIN_FACTORS = np.exp(GAIN_RATE * (np.arange(GAIN_BLOCK + 1) / GAIN_BLOCK - GAIN_SHARE))
KNEE = 4.0  # gains at which the input is squashed to a half
FULL = 127

RESIDUAL_LIMIT = 32767

# Peaks of the beat's logit
REFRACTORY_STEPS = 10
APART_S = 0.12  # two R-peaks closer than this are of one QRS complex

# The R-peak in the signal
R_REACH_S = 0.06
R_BASELINE_S = 0.15
R_SMOOTHING_S = 0.015
MISSING_SHARE = 0.1  # of the samples around an R-peak; with more it may be the edge of the gap

QUALITIES = ("ok", "noisy", "unreadable")


class RunningGain:
    """Samples at NETWORK_HZ in millivolts to int8, each divided by a gain that knows the past alone."""

    def __init__(self, start_mv: float = GAIN_START_MV, blocks_done: int = 0):
        self.gain_mv = start_mv
        self._blocks = blocks_done
        self._samples = np.zeros(0)

    def __call__(self, samples_mv: np.ndarray) -> np.ndarray:
        """Whole numbers from -FULL to FULL, (n,) float64, of `samples_mv` (n,)."""
        pending = len(self._samples)
        heights_mv = np.concatenate((self._samples, np.abs(samples_mv)))
        gains_mv = np.empty(len(heights_mv))
        end = 0
        for end in range(GAIN_BLOCK, len(heights_mv) + 1, GAIN_BLOCK):
            block_mv = heights_mv[end - GAIN_BLOCK : end]
            gains_mv[end - GAIN_BLOCK : end] = self.gain_mv
            self._follow(int(np.count_nonzero(block_mv > self.gain_mv)))
        end = len(heights_mv) // GAIN_BLOCK * GAIN_BLOCK
        gains_mv[end:] = self.gain_mv
        self._samples = heights_mv[end:].copy()
        gains_mv, heights_mv = gains_mv[pending:], heights_mv[pending:]
        return np.floor(FULL * samples_mv / (heights_mv + KNEE * gains_mv) + 0.5)

    def _follow(self, above: int):
        for _ in range(max(GAIN_HASTE // (self._blocks + 1), 1)):
            self.gain_mv = max(self.gain_mv * GAIN_FACTORS[above], GAIN_LEAST_MV)
        self._blocks += 1


@dataclass(frozen=True)
class Layer:
    """One integer layer: weights (inputs, outputs) or (taps, channels), biases, and what its sums are scaled by.

    A sum becomes floor(sum * multipliers / 2 ** shift + 1 / 2).
    """

    weights: np.ndarray
    biases: np.ndarray
    multipliers: np.ndarray | None = None
    shift: int = 0

    def scaled(self, sums: np.ndarray) -> np.ndarray:
        """Exact: a sum times a multiplier stays far below 2 ** 53."""
        return np.floor((sums + self.biases) * self.multipliers * 2.0**-self.shift + 0.5)


class BeatNetwork:
    """The integer network with its memory; `push` may be called with any number of samples at a time."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self.delay_steps = int(arrays["delay_steps"])
        self._dilations = arrays["dilations"].tolist()
        self._first, self._head = _layer(arrays, "first"), _layer(arrays, "head")
        self._blocks = [
            tuple(_layer(arrays, f"{kind}{index}") for kind in ("narrow", "depth", "wide"))
            for index in range(len(self._dilations))
        ]
        taps = len(self._blocks[0][1].weights)
        self._input = np.zeros(len(self._first.weights) - STEP)
        self._memories = [
            np.zeros(((taps - 1) * dilation, len(depth.biases)))
            for dilation, (_, depth, _) in zip(self._dilations, self._blocks)
        ]

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Logits (steps, 2) of beat and of unreadable signal for the steps that `samples` (n,) of int8 complete."""
        samples = np.concatenate((self._input, samples))
        width = len(self._first.weights)
        steps = max((len(samples) - width) // STEP + 1, 0)
        self._input = samples[steps * STEP :].copy()
        if steps == 0:
            return np.zeros((0, len(self._head.biases)))
        spans = np.lib.stride_tricks.sliding_window_view(samples, width)[::STEP][:steps]
        stream = np.clip(self._first.scaled(spans @ self._first.weights), 0, RESIDUAL_LIMIT)
        for index, block in enumerate(self._blocks):
            stream = np.clip(stream + self._added(index, stream, *block), -RESIDUAL_LIMIT, RESIDUAL_LIMIT)
        return np.maximum(stream, 0) @ self._head.weights + self._head.biases

    def _added(self, index: int, stream: np.ndarray, narrow: Layer, depth: Layer, wide: Layer) -> np.ndarray:
        """What block `index` adds to the residual stream (steps, channels)."""
        steps, dilation = len(stream), self._dilations[index]
        narrowed = np.clip(narrow.scaled(stream @ narrow.weights), 0, FULL)
        remembered = np.concatenate((self._memories[index], narrowed))
        self._memories[index] = remembered[steps:].copy()
        sums = sum(remembered[tap * dilation : tap * dilation + steps] * row for tap, row in enumerate(depth.weights))
        return wide.scaled(np.clip(depth.scaled(sums), 0, FULL) @ wide.weights)


def _layer(arrays: Mapping[str, np.ndarray], name: str) -> Layer:
    weights, biases = (arrays[f"{name}_{part}"].astype(float) for part in ("weights", "biases"))
    if f"{name}_multipliers" not in arrays:
        return Layer(weights, biases)
    return Layer(weights, biases, arrays[f"{name}_multipliers"].astype(float), int(arrays[f"{name}_shift"]))


class RPeakNetwork:
    """R-peaks and signal quality of one lead from chunks of any size; their borders change nothing, to the bit.

    `arrays` hold a network (`load_network`); `fs_hz` is 100 to 1000 Hz, DeepECGError outside. A beat is the sample of
    its R-peak and the sample at which it was known, both counted from the first sample ever pushed. What comes later
    than the second cannot change the beat, and a beat once told stands.
    """

    def __init__(self, fs_hz: float, arrays: Mapping[str, np.ndarray], gain: RunningGain | None = None):
        low, high = RATES_HZ
        if not low <= fs_hz <= high:
            raise DeepECGError(f"the R-peak detector cannot run at {fs_hz!r} Hz: {low:g} to {high:g} Hz are needed")
        self._fs_hz, self._gain = float(fs_hz), gain or RunningGain()
        self._network = BeatNetwork(arrays)
        self._threshold, self._limits = float(arrays["threshold"]), arrays["quality_limits"].tolist()
        self._band_pass, self._resampler = OnePassFilter(bandpass_sos(BAND_HZ, 2, fs_hz)), CausalResampler(fs_hz, 100)
        self._watch, self._pushed, self._steps = SignalWatch(fs_hz), 0, 0
        self._kernel = np.hanning(2 * self._samples(R_SMOOTHING_S / 2) + 3)[1:-1]
        self._kernel /= self._kernel.sum()
        waits_s = (self._network.delay_steps + 2) / STEP_HZ
        self._history = self._samples(waits_s + 2 * R_REACH_S + R_BASELINE_S) + len(self._kernel)
        self._signal_mv, self._missing = np.zeros(0), np.zeros(0, bool)
        self._logits = np.full(2, -np.inf)  # the latest two of beats
        self._last_step, self._last_r = -REFRACTORY_STEPS, -self._samples(10.0)
        self.unreadable = np.zeros(0)  # logits of the steps of the latest chunk

    def push(self, chunk_mv: np.ndarray) -> list[tuple[int, int]]:
        """Feeds the next samples (n,), any n >= 0, in millivolts; returns the beats decided in them, oldest first."""
        chunk_mv = one_row(chunk_mv)
        if len(chunk_mv) == 0:
            return []
        watched = self._watch(chunk_mv)
        self._watch.forget(self._pushed)
        return self.push_watched(*watched)

    def push_watched(self, filled_mv: np.ndarray, missing: np.ndarray) -> list[tuple[int, int]]:
        """`push` for a caller whose own `SignalWatch` has seen the samples (n,), n > 0, and has given these."""
        self._pushed += len(filled_mv)
        self._signal_mv = np.concatenate((self._signal_mv, filled_mv))
        self._missing = np.concatenate((self._missing, missing))
        beats = self._read(self._resampler(self._band_pass(filled_mv)))
        self._signal_mv, self._missing = self._signal_mv[-self._history :], self._missing[-self._history :]
        return beats

    def finish(self) -> list[tuple[int, int]]:
        """The beats that the network still owes when the signal has ended: it reads on, and sees nothing."""
        return self._read(np.zeros(STEP * (self._network.delay_steps + 2)))

    def _samples(self, seconds: float) -> int:
        return round(seconds * self._fs_hz)

    def _read(self, samples_mv: np.ndarray) -> list[tuple[int, int]]:
        logits = self._network.push(self._gain(samples_mv))
        self.unreadable = logits[:, 1]
        first, self._steps = self._steps, self._steps + len(logits)
        row = np.concatenate((self._logits, logits[:, 0]))
        self._logits = row[-2:]
        middle = row[1:-1]
        peaks = np.flatnonzero((middle >= self._threshold) & (middle > row[:-2]) & (middle >= row[2:]))
        beats = (self._beat(first - 1 + at) for at in peaks.tolist())
        return [beat for beat in beats if beat is not None]

    def _beat(self, step: int) -> tuple[int, int] | None:
        """The beat of the peak at `step`, or None where it is none."""
        if step - self._last_step < REFRACTORY_STEPS:
            return None
        about_s = (step + 0.5 - self._network.delay_steps) / STEP_HZ
        known = min(self._resampler.needed(STEP * (step + 2) - 1), self._pushed - 1)
        r = self._r_peak(round(about_s * self._fs_hz))
        if r is None or r - self._last_r < APART_S * self._fs_hz:
            return None
        self._last_step, self._last_r = step, r
        return r, known

    def _r_peak(self, about: int) -> int | None:
        """The largest deflection of the smoothed signal near sample `about`; None before the record and in a gap."""
        zero, reach, margin = self._pushed - len(self._signal_mv), self._samples(R_REACH_S), len(self._kernel) // 2
        low = max(about - reach - zero, margin)
        high = min(about + reach + 1 - zero, len(self._signal_mv) - margin)
        if about < 0 or high <= low or self._missing[low:high].mean() > MISSING_SHARE:
            return None
        smooth_mv = np.convolve(self._signal_mv[low - margin : high + margin], self._kernel, "valid")
        base_mv = self._signal_mv[max(about - self._samples(R_BASELINE_S) - zero, 0) : high].mean()
        return zero + low + int(np.abs(smooth_mv - base_mv).argmax())


def load_network(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a network file. Raises DeepECGError where it cannot be read."""
    try:
        with np.load(path) as file:
            return dict(file)
    except (OSError, ValueError) as error:
        raise DeepECGError(f"{path} is no network of R-peaks: {error}: fetch it again") from None


def whole_record(
    signal_mv: np.ndarray, fs_hz: float, arrays: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """R-peaks (beats,) int64 of `signal_mv` (n,), rising, and for every sample an index into QUALITIES, (n,) int8."""
    detector = RPeakNetwork(fs_hz, arrays, primed_gain(signal_mv, fs_hz))
    beats, logits = detector.push(signal_mv), [detector.unreadable]
    beats += detector.finish()
    logits = np.concatenate([*logits, detector.unreadable])[int(arrays["delay_steps"]) :]
    steps = np.minimum((np.arange(len(signal_mv)) / fs_hz * STEP_HZ).astype(int), len(logits) - 1)
    quality = np.searchsorted(arrays["quality_limits"], logits, side="right")[steps]
    return np.array([r for r, _ in beats], np.int64), quality.astype(np.int8)


def network_signal(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """`signal_mv` (n,) as the network's gain takes it: gaps filled, band-passed in one pass, at NETWORK_HZ."""
    filled_mv, _ = SignalWatch(fs_hz)(signal_mv)
    return CausalResampler(fs_hz, NETWORK_HZ)(OnePassFilter(bandpass_sos(BAND_HZ, 2, fs_hz))(filled_mv))


def primed_gain(signal_mv: np.ndarray, fs_hz: float, seconds: float = 10.0) -> RunningGain:
    """The gain as the first `seconds` leave it, for a record that is known as a whole."""
    gain = RunningGain()
    gain(network_signal(signal_mv[: round(seconds * fs_hz)], fs_hz))
    return RunningGain(gain.gain_mv, GAIN_HASTE)
