"""R-peaks and signal quality of one lead by a small network: the same arithmetic in a stream and in C.

A band-passed signal at NETWORK_HZ is divided by a running gain, squashed into int8 and read by dilated convolutions at
STEP_HZ, in whole numbers throughout: sums of products have no order, so that nothing depends on the size of the chunks
nor on the library that multiplies. The network answers a fixed delay late, short enough for a beat to be told within
150 ms of its R-peak. Records that are known as a whole are read by another (`record_network`).
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from deep_ecg.beats.beat_picking import Peak, StreamPicker, peaks_of
from deep_ecg.beats.signal_quality import QUALITIES, UNREADABLE, SettledQuality
from deep_ecg.beats.signal_watch import SignalWatch
from deep_ecg.system.errors import DeepECGError
from dsp_filters import CausalResampler, OnePassFilter, bandpass_sos

RATES_HZ = (100.0, 1000.0)
ON_TIME_S = 0.15  # a beat that is known later than this after its R-peak is late
FILE = "r_peaks-causal.npz"
NETWORK_HZ = 100.0
STEP = 2  # samples at NETWORK_HZ; the network answers once for so many
STEP_HZ = NETWORK_HZ / STEP
BAND_ORDER, BAND_HZ = 2, (2.0, 25.0)  # without wander below, mains and most of muscle noise above

# The running gain, near the QRS complex's foot: exceeded for GAIN_SHARE of the time
GAIN_BLOCK = 10  # samples at NETWORK_HZ between its changes
GAIN_SHARE = 0.15
GAIN_RATE = 0.2  # of its logarithm, a block in which all samples exceed it and none
GAIN_START_MV = 0.1
GAIN_LEAST_MV = 0.004  # less is the last bit of a converter
GAIN_HASTE = 10  # changes in the first block, half as many in the second, and so on: it is found within a second
GAIN_LEAP = 16  # gains that a block of the first second can be high: higher, and the gain is raised at once
GAIN_FACTORS = np.exp(GAIN_RATE * (np.arange(GAIN_BLOCK + 1) / GAIN_BLOCK - GAIN_SHARE)).tolist()
KNEE = 4.0  # gains at which the input is squashed to a half
FULL = 127

RESIDUAL_LIMIT = 32767
ZERO, HIGHEST, LIMIT = np.array(0.0), np.array(float(FULL)), np.array(float(RESIDUAL_LIMIT))
FEW_STEPS = 9  # in which one product of matrices takes less time than a few of rows

APART_S = 0.12  # two R-peaks closer than this are of one QRS complex

# The R-peak in the signal
R_REACH_S = 0.06
R_BASELINE_S = 0.15
R_SMOOTHING_S = 0.015
LEAST_MV = 0.02  # a lower deflection is the last bits of a converter (MIT-BIH: 0.005 mV); a QRS lies far above
MISSING_SHARE = 0.25  # of the samples around an R-peak, MISSING_S; with more it may be the edge of the gap


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
        end = len(heights_mv) // GAIN_BLOCK * GAIN_BLOCK
        gains_mv = [self.gain_mv]
        blocks_mv = np.sort(heights_mv[:end].reshape(-1, GAIN_BLOCK), axis=1).tolist()
        hasty = max(GAIN_HASTE - self._blocks, 0)
        for block_mv in blocks_mv[:hasty]:
            self._follow(GAIN_BLOCK - bisect_right(block_mv, self.gain_mv), block_mv[-2])
            gains_mv.append(self.gain_mv)
        gains_mv += self._followed(blocks_mv[hasty:])
        self._samples = heights_mv[end:]
        squashed_at_mv = KNEE * np.repeat(gains_mv, GAIN_BLOCK)[pending : len(heights_mv)]
        return np.floor(FULL * samples_mv / (heights_mv[pending:] + squashed_at_mv) + 0.5)

    def _followed(self, blocks_mv: list[list[float]]) -> list[float]:
        """The gain after each of further blocks, once there is no haste: there are ten a second, for days."""
        gain_mv, gains_mv = self.gain_mv, []
        for block_mv in blocks_mv:
            gain_mv *= GAIN_FACTORS[GAIN_BLOCK - bisect_right(block_mv, gain_mv)]
            if gain_mv < GAIN_LEAST_MV:
                gain_mv = GAIN_LEAST_MV
            gains_mv.append(gain_mv)
        self.gain_mv = gain_mv
        return gains_mv

    def _follow(self, above: int, high_mv: float):
        """Goes on by a block of the first second: so many samples lie `above` the gain, all but one up to `high_mv`."""
        while high_mv > GAIN_LEAP * self.gain_mv:
            self.gain_mv *= GAIN_FACTORS[-1]
        for _ in range(GAIN_HASTE // (self._blocks + 1)):
            self.gain_mv = max(self.gain_mv * GAIN_FACTORS[above], GAIN_LEAST_MV)
        self._blocks += 1


@dataclass(frozen=True)
class Layer:
    """One integer layer, its scale folded into weights (inputs, outputs) or (taps, channels) and biases (outputs,).

    A sum of products becomes floor(sum * multiplier / 2 ** shift + 1 / 2): exact in float64, for a sum times a
    multiplier stays far below 2 ** 53.
    """

    weights: np.ndarray
    biases: np.ndarray

    def rounded(self, products: np.ndarray, highest: np.ndarray | None = None) -> np.ndarray:
        """Sums of products (steps, outputs) as whole numbers, and where there is a `highest`, cut to 0 to that.

        Done in place, as all below: a stream comes in so few steps at a time that every call of NumPy counts.
        """
        products += self.biases
        np.floor(products, out=products)
        if highest is not None:
            np.maximum(products, ZERO, out=products)
            np.minimum(products, highest, out=products)
        return products


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
        self._taps, self._narrow = self._blocks[0][1].weights.shape
        self._depths = [_as_matrix(depth.weights) for _, depth, _ in self._blocks]
        self._overflows = self._can_overflow()
        self._input = np.zeros(len(self._first.weights) - STEP)
        self._memories = [np.zeros(((self._taps - 1) * dilation, self._narrow)) for dilation in self._dilations]

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Logits (steps, 2) of beat and of unreadable signal for the steps that `samples` (n,) of int8 complete."""
        samples = np.concatenate((self._input, samples))
        width = len(self._first.weights)
        steps = max((len(samples) - width) // STEP + 1, 0)
        self._input = samples[steps * STEP :].copy()
        if steps == 0:
            return np.zeros((0, len(self._head.biases)))
        size = samples.itemsize
        spans = np.ndarray((steps, width), float, samples, strides=(STEP * size, size))
        stream = self._first.rounded(_product(spans, self._first.weights), LIMIT)
        for index, block in enumerate(self._blocks):
            stream += self._added(index, stream, *block)
            if self._overflows[index]:
                np.clip(stream, -RESIDUAL_LIMIT, RESIDUAL_LIMIT, out=stream)
        np.maximum(stream, ZERO, out=stream)
        return stream @ self._head.weights + self._head.biases

    def _added(self, index: int, stream: np.ndarray, narrow: Layer, depth: Layer, wide: Layer) -> np.ndarray:
        """What block `index` adds to the residual stream (steps, channels)."""
        steps, dilation = len(stream), self._dilations[index]
        narrowed = narrow.rounded(_product(stream, narrow.weights), HIGHEST)
        remembered = np.concatenate((self._memories[index], narrowed))
        self._memories[index] = remembered[steps:]
        if steps < FEW_STEPS:
            row = self._narrow * remembered.itemsize
            strides = (row, dilation * row, remembered.itemsize)
            spans = np.ndarray((steps, self._taps, self._narrow), float, remembered, strides=strides)
            sums = spans.reshape(steps, -1) @ self._depths[index]
        else:
            sums = remembered[:steps] * depth.weights[0]
            for tap in range(1, self._taps):
                sums += remembered[tap * dilation : tap * dilation + steps] * depth.weights[tap]
        return wide.rounded(_product(depth.rounded(sums, HIGHEST), wide.weights))

    def _can_overflow(self) -> list[bool]:
        """Whether the stream can leave its range in each block, by the largest sums that its weights allow."""
        high = np.full(len(self._head.weights), float(RESIDUAL_LIMIT))
        first = FULL * np.abs(self._first.weights).sum(axis=0) + self._first.biases
        high, low, found = np.clip(first, 0, high), 0 * high, []
        for _, _, wide in self._blocks:
            high = high + FULL * np.maximum(wide.weights, 0).sum(axis=0) + wide.biases
            low = low + FULL * np.minimum(wide.weights, 0).sum(axis=0) + wide.biases - 1
            found.append(bool(high.max() > RESIDUAL_LIMIT or low.min() < -RESIDUAL_LIMIT))
            high, low = np.minimum(high, RESIDUAL_LIMIT), np.maximum(low, -RESIDUAL_LIMIT)
        return found


def _product(steps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`steps` (steps, inputs) times `weights` (inputs, outputs); of many steps each output is one row in memory."""
    return steps @ weights if len(steps) < FEW_STEPS else (weights.T @ steps.T).T


def _layer(arrays: Mapping[str, np.ndarray], name: str) -> Layer:
    weights, biases = (arrays[f"{name}_{part}"].astype(float) for part in ("weights", "biases"))
    if f"{name}_multipliers" not in arrays:
        return Layer(weights, biases)
    scales = arrays[f"{name}_multipliers"] * 2.0 ** -int(arrays[f"{name}_shift"])
    return Layer(weights * scales, biases * scales + 0.5)


def _as_matrix(weights: np.ndarray) -> np.ndarray:
    """Weights (taps, channels) of a convolution of each channel as a matrix (taps * channels, channels)."""
    return np.concatenate([np.diag(row) for row in weights])


def check_rate(fs_hz: float):
    """DeepECGError where the detector cannot run at `fs_hz`."""
    low, high = RATES_HZ
    if not low <= fs_hz <= high:
        raise DeepECGError(f"the R-peak detector cannot run at {fs_hz!r} Hz: {low:g} to {high:g} Hz are needed")


class Network(Protocol):
    """What answers a lead: logits (steps, 2) of beat and of unreadable signal, `delay_steps` late."""

    delay_steps: int

    def push(self, samples: np.ndarray) -> np.ndarray:
        """The logits that `samples` (n,) of int8 make known."""


class LogitStream:
    """The network's answers to one lead, samples at `fs_hz` in and logits out, in chunks of any size.

    `fs_hz` is 100 to 1000 Hz, DeepECGError outside.
    """

    def __init__(self, fs_hz: float, network: Network, gain: RunningGain | None = None):
        check_rate(fs_hz)
        self._network, self._gain = network, gain or RunningGain()
        self._band_pass = OnePassFilter(bandpass_sos(BAND_HZ, BAND_ORDER, fs_hz))
        self._resampler = CausalResampler(fs_hz, NETWORK_HZ)
        self.delay_steps = network.delay_steps

    def push(self, filled_mv: np.ndarray) -> np.ndarray:
        """Logits (steps, 2) of beat and of unreadable signal for the steps that `filled_mv` (n,) completes."""
        return self._network.push(self._gain(self._resampler(self._band_pass(filled_mv))))

    def finish(self) -> np.ndarray:
        """The logits that are owed when the signal has ended: the network reads on, and sees nothing."""
        return self._network.push(self._gain(np.zeros(STEP * (self.delay_steps + 2))))

    def needed(self, step: int) -> int:
        """The sample that completes `step`."""
        return self._resampler.needed(STEP * (step + 1) - 1)


class RPlace:
    """Where near a peak of the logit the R-peak is: at the largest deflection of the smoothed signal."""

    def __init__(self, fs_hz: float):
        self.reach, self.baseline = round(R_REACH_S * fs_hz), round(R_BASELINE_S * fs_hz)
        self.kernel = np.hanning(2 * round(R_SMOOTHING_S / 2 * fs_hz) + 3)[1:-1]
        self.kernel /= self.kernel.sum()

    def __call__(self, signal_mv: np.ndarray, missing: np.ndarray, about: int) -> int | None:
        """The sample of `signal_mv` (n,) near sample `about`; None outside, where samples are `missing`, and flat."""
        margin = len(self.kernel) // 2
        low, high = max(about - self.reach, margin), min(about + self.reach + 1, len(signal_mv) - margin)
        if high <= low or np.count_nonzero(missing[low:high]) > MISSING_SHARE * (high - low):
            return None
        smooth_mv = np.convolve(signal_mv[low - margin : high + margin], self.kernel, "valid")
        before_mv = signal_mv[max(about - self.baseline, 0) : high]
        base_mv = np.add.reduce(before_mv) / len(before_mv)  # numpy.mean, without its checks
        deflection_mv = np.abs(smooth_mv - base_mv)
        place = int(deflection_mv.argmax())
        return low + place if deflection_mv[place] >= LEAST_MV else None


class RPeak(NamedTuple):
    """A beat: the sample of its R-peak and the sample with which it was known, from the first sample ever pushed on.

    `quality` is that of the signal then, one of QUALITIES; `after_gap`: whether the signal could not be read since the
    last beat that could.
    """

    sample: int
    known: int
    quality: str = "ok"
    after_gap: bool = False

    @property
    def readable(self) -> bool:
        """Whether the signal could be read then."""
        return self.quality != QUALITIES[UNREADABLE]


class RPeakNetwork:
    """R-peaks and signal quality of one lead from chunks of any size; their borders change nothing, to the bit.

    `arrays` hold a network, by default the one that comes with the project; `fs_hz` is 100 to 1000 Hz, DeepECGError
    outside. What comes later than the sample with which a beat is known cannot change the beat, and a beat once told
    stands. Memory and work a sample stay the same for ever.
    """

    def __init__(self, fs_hz: float, arrays: Mapping[str, np.ndarray] | None = None):
        arrays = pretrained() if arrays is None else arrays
        self._fs_hz, self._logits = float(fs_hz), LogitStream(fs_hz, BeatNetwork(arrays))
        self._pick = StreamPicker(*(float(arrays[name]) for name in ("threshold", "least", "clearly")))
        self._row, self._place = np.full(2, -np.inf), RPlace(fs_hz)  # the latest two logits of beats
        self._settled = SettledQuality(arrays["quality_limits"].tolist())
        self._watch, self._pushed, self._steps = SignalWatch(fs_hz), 0, 0
        back_s = (self._logits.delay_steps + 2) / STEP_HZ + R_REACH_S + R_BASELINE_S
        self._history = round(back_s * fs_hz) + self._place.reach + len(self._place.kernel)
        self._signal_mv, self._missing = np.zeros(0), np.zeros(0, bool)
        self._last_r, self._apart = -round(10.0 * fs_hz), APART_S * fs_hz
        self._unread, self._unread_before = 0, 0  # unreadable steps in all, and up to the last beat that could be read
        self.states = np.zeros(0, np.int8)  # of the steps of the latest chunk, into QUALITIES
        self.changes: list[tuple[int, str]] = []  # of them: the sample that made the change known, and the quality

    def push(self, chunk_mv: np.ndarray) -> list[tuple[int, int]]:
        """Feeds the next samples (n,), any n >= 0, in millivolts; returns the beats decided in them, oldest first.

        A beat is (R-peak sample, sample with which it was known). Samples that are not numbers are lost signal.
        DeepECGError where `chunk_mv` is not one row of numbers.
        """
        chunk_mv = one_row(chunk_mv)
        if len(chunk_mv) == 0:
            return []
        watched = self._watch(chunk_mv)
        self._watch.forget(self._pushed)
        return [(beat.sample, beat.known) for beat in self.push_watched(*watched)]

    def push_watched(self, filled_mv: np.ndarray, missing: np.ndarray) -> list[RPeak]:
        """`push` for a caller whose own `SignalWatch` has seen the samples (n,), n > 0, and has given these."""
        self._pushed += len(filled_mv)
        self._signal_mv = np.concatenate((self._signal_mv, filled_mv))
        self._missing = np.concatenate((self._missing, missing))
        logits = self._logits.push(filled_mv)
        before = self._settled.quality
        self.states = self._settled(logits[:, 1])
        pairs = enumerate(pairwise([QUALITIES.index(before), *self.states.tolist()]), self._steps)
        self.changes = [(self._logits.needed(step), QUALITIES[now]) for step, (was, now) in pairs if now != was]
        beats = self._read(logits[:, 0])
        self._signal_mv, self._missing = self._signal_mv[-self._history :], self._missing[-self._history :]
        return beats

    @property
    def due(self) -> int:
        """The sample with which the next step of the network is known, and before which no beat can be."""
        return self._logits.needed(self._steps)

    def finish(self) -> list[RPeak]:
        """The beats that the network still owes when the signal has ended, whose quality stays as it was."""
        logits = self._logits.finish()
        self.states = np.full(len(logits), QUALITIES.index(self._settled.quality), np.int8)
        return self._read(logits[:, 0]) + self._told(self._pick.let_go(), self._steps)

    @property
    def quality(self) -> str:
        """The signal just now: "missing", "flat" or "saturated" as in `SignalWatch.fault`, else one of QUALITIES."""
        return self._watch.fault or self._settled.quality

    def _read(self, logits: np.ndarray) -> list[RPeak]:
        """The beats that the next `logits` (steps,) of beats make known, where the signal has the `states`."""
        if len(logits) == 0:
            return []
        row = np.concatenate((self._row, logits))
        first, self._steps, self._row = self._steps, self._steps + len(logits), row[-2:]
        unread, beats = self._unread + np.cumsum(self.states == UNREADABLE), []
        self._unread = int(unread[-1])
        for at in peaks_of(row, self._pick.least).tolist():  # known with step `first` + at
            beats += self._let_go(first + at)
            quality = QUALITIES[self.states[at]]
            beats += self._beats(first + at - 1, float(row[at + 1]), quality, int(unread[at]))
        return beats + self._let_go(self._steps)

    def _let_go(self, step: int) -> list[RPeak]:
        """The beats that were held, but for no longer than up to `step`."""
        until = self._pick.held_until
        return [] if until is None or until + 1 >= step else self._told(self._pick.let_go(), until + 1)

    def _beats(self, step: int, logit: float, quality: str, unread: int) -> list[RPeak]:
        """The beats that the peak `logit` at `step` makes known; none where no R-peak is to be found near it."""
        zero = self._pushed - len(self._signal_mv)
        about = r_about(step, self._logits.delay_steps, self._fs_hz)
        place = None if about < 0 else self._place(self._signal_mv, self._missing, about - zero)
        found = [] if place is None else self._pick(Peak(step, logit, zero + place, quality, unread))
        return self._told(found, step + 1)

    def _told(self, found: list[Peak], step: int) -> list[RPeak]:
        """The beats that are `found` with `step`; of two of one QRS complex the first."""
        known, told = min(self._logits.needed(step), self._pushed - 1), []
        for peak in found:
            if peak.r - self._last_r >= self._apart:
                self._last_r = peak.r
                told.append(RPeak(peak.r, known, peak.quality, peak.unread > self._unread_before))
                self._unread_before = peak.unread if told[-1].readable else self._unread_before
        return told


def r_about(step: int, delay_steps: int, fs_hz: float) -> int:
    """The sample about which the R-peak lies of a beat whose logit peaks at `step`."""
    return round((step + 0.5 - delay_steps) / STEP_HZ * fs_hz)


@cache
def pretrained() -> Mapping[str, np.ndarray]:
    """The arrays of the network that comes with the project."""
    return load_network(Path(__file__).with_name(FILE))


def load_network(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a network file. Raises DeepECGError where it cannot be read."""
    try:
        with np.load(path) as file:
            return dict(file)
    except (OSError, ValueError) as error:
        raise DeepECGError(f"{path} is no network of R-peaks: {error}: fetch it again") from None


def network_signal(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """`signal_mv` (n,) as the network's gain takes it: gaps filled, band-passed in one pass, at NETWORK_HZ."""
    filled_mv, _ = SignalWatch(fs_hz)(signal_mv)
    return CausalResampler(fs_hz, NETWORK_HZ)(OnePassFilter(bandpass_sos(BAND_HZ, BAND_ORDER, fs_hz))(filled_mv))


def primed_gain(signal_mv: np.ndarray, fs_hz: float, seconds: float = 10.0) -> RunningGain:
    """The gain as the first `seconds` leave it, for a record that is known as a whole."""
    gain = RunningGain()
    gain(network_signal(signal_mv[: round(seconds * fs_hz)], fs_hz))
    return RunningGain(gain.gain_mv, GAIN_HASTE)


def one_row(chunk_mv: np.ndarray) -> np.ndarray:
    """`chunk_mv` as a row of numbers, (n,) float64, NaN where it is masked. Raises DeepECGError where it is none."""
    try:
        row = np.asarray(chunk_mv)
        if row.dtype.kind not in "biufO":
            raise ValueError
        row = row.astype(float, copy=False)
    except (TypeError, ValueError):
        raise DeepECGError("a chunk of the signal holds more than numbers: push millivolts") from None
    if row.ndim != 1:
        raise DeepECGError(f"a chunk of the signal has shape {row.shape}: push one row of samples, (n,)")
    return np.where(np.ma.getmaskarray(chunk_mv), np.nan, row) if isinstance(chunk_mv, np.ma.MaskedArray) else row
