"""Signal processing: the Butterworth band-pass in its zero-phase and one-pass forms, resampling, z-score.

One-pass filter and causal resampling also come in chunks of any size, as a live stream does, with the same results to
the bit.
"""

from fractions import Fraction
from math import ceil

import numpy as np
from scipy.signal import butter, resample_poly, sosfilt, sosfilt_zi, sosfiltfilt

FLAT_MV = 1e-6  # a window that varies less than this carries no beat
BLOCK_SAMPLES = 2**20  # of a signal that is filtered both ways: half an hour at 500 Hz is one block
SETTLE_CYCLES = 10  # after which a Butterworth filter of low order has forgotten, to the last bits of a number


def bandpass_sos(band_hz: tuple[float, float], order: int, fs_hz: float) -> np.ndarray:
    """Butterworth band-pass as second-order sections, shape (order, 6).

    Second-order sections stay accurate where the transfer-function form does not: 0.5 Hz is 1/360 of Nyquist here.
    """
    return butter(order, band_hz, btype="bandpass", fs=fs_hz, output="sos")


def filter_zero_phase(signal_mv: np.ndarray, sos: np.ndarray) -> np.ndarray:
    """`signal_mv` (n,) filtered forward and backward: no delay, but every output depends on the future."""
    return sosfiltfilt(sos, signal_mv)


class OnePassFilter:
    """The same filter run forward only, in chunks of any size, with its state carried from chunk to chunk.

    The state starts as if the first sample had lasted for ever, so that a record that begins away from zero shows
    no transient. Every output depends on the present and the past alone.
    """

    def __init__(self, sos: np.ndarray):
        self._sos = sos
        self._state = None

    def __call__(self, chunk_mv: np.ndarray) -> np.ndarray:
        """Filtered `chunk_mv` (n,), following on from the chunks before it."""
        if len(chunk_mv) == 0:
            return np.zeros(0)
        if self._state is None:
            self._state = sosfilt_zi(self._sos) * chunk_mv[0]
        filtered, self._state = sosfilt(self._sos, chunk_mv, zi=self._state)
        return filtered


def clean(signal_mv: np.ndarray, sos: np.ndarray, causal: bool) -> np.ndarray:
    """`signal_mv` (n,) band-passed as the mode asks: one pass when `causal`, else zero phase."""
    return OnePassFilter(sos)(signal_mv) if causal else filter_zero_phase(signal_mv, sos)


def rate_ratio(fs_hz: float, target_hz: float) -> Fraction:
    """`target_hz` over `fs_hz`, in whole numbers."""
    return Fraction(target_hz / fs_hz).limit_denominator(2000)


def resample(signal_mv: np.ndarray, fs_hz: float, target_hz: float, causal: bool) -> np.ndarray:
    """`signal_mv` (n,) brought from `fs_hz` to `target_hz`; sample k of the result lies at k / target_hz seconds.

    The causal form interpolates linearly, which looks ahead by less than one input sample; the other is polyphase
    with SciPy's anti-aliasing filter.
    """
    if fs_hz == target_hz:
        return signal_mv
    if not causal:
        ratio = rate_ratio(fs_hz, target_hz)
        return resample_poly(signal_mv, ratio.numerator, ratio.denominator, padtype="line")
    count = int((len(signal_mv) - 1) * target_hz / fs_hz) + 1
    return np.interp(np.arange(count) / target_hz, np.arange(len(signal_mv)) / fs_hz, signal_mv)


class CausalCleaner:
    """`resample` and `clean` in their causal forms, in chunks of any size: the results are the same to the bit."""

    def __init__(self, fs_hz: float, target_hz: float, sos: np.ndarray):
        self._resampler, self._band_pass = CausalResampler(fs_hz, target_hz), OnePassFilter(sos)

    def __call__(self, chunk_mv: np.ndarray) -> np.ndarray:
        """The samples at the new rate that `chunk_mv` (n,) makes known, following on from those before it."""
        return self._band_pass(self._resampler(chunk_mv))

    def finish(self) -> np.ndarray:
        """Those that are owed when the signal has ended."""
        return self._band_pass(self._resampler.finish())

    def needed(self, sample: int) -> int:
        """The input sample that makes output `sample` known."""
        return self._resampler.needed(sample)


class ZeroPhaseCleaner:
    """`resample` and `clean` in their forms that look both ways, in chunks of any size, in flat memory.

    The signal is worked on in blocks of BLOCK_SAMPLES and more, with so much around each that nothing is left of its
    borders: what lies SETTLE_CYCLES of `low_hz`, the filter's lower edge, away. A shorter signal is one block.
    """

    def __init__(self, fs_hz: float, target_hz: float, sos: np.ndarray, low_hz: float):
        self._fs_hz, self._target_hz, self._sos = fs_hz, target_hz, sos
        self._ratio = rate_ratio(fs_hz, target_hz)
        step = self._ratio.denominator  # input samples between two that are output samples, too
        self._step, self._margin = step, ceil(SETTLE_CYCLES / low_hz * fs_hz / step) * step
        self._held_mv, self._done = np.zeros(0), 0  # samples held, the first of which only lead up to the others

    def __call__(self, chunk_mv: np.ndarray) -> np.ndarray:
        """The samples at the new rate that `chunk_mv` (n,) makes known, following on from those before it."""
        self._held_mv = np.concatenate((self._held_mv, chunk_mv))
        end = (len(self._held_mv) - self._margin) // self._step * self._step
        if end - self._done < BLOCK_SAMPLES:
            return np.zeros(0)
        cleaned_mv = self._cleaned(self._place(end))
        kept = max(end - self._margin, 0)
        self._held_mv, self._done = self._held_mv[kept:].copy(), end - kept
        return cleaned_mv

    def finish(self) -> np.ndarray:
        """Those that are owed when the signal has ended."""
        return self._cleaned(None)

    def _cleaned(self, end: int | None) -> np.ndarray:
        resampled_mv = resample(self._held_mv, self._fs_hz, self._target_hz, causal=False)
        return filter_zero_phase(resampled_mv, self._sos)[self._place(self._done) : end]

    def _place(self, sample: int) -> int:
        return int(sample * self._ratio)


class CausalResampler:
    """`resample` in its causal form, in chunks of any size: after `finish` the result is the same to the bit."""

    def __init__(self, fs_hz: float, target_hz: float):
        self._fs_hz, self._target_hz = float(fs_hz), float(target_hz)
        self._taken, self._given = 0, 0
        self._last_mv = np.zeros(0)  # the latest two input samples: neighbours of the next output

    def __call__(self, chunk_mv: np.ndarray) -> np.ndarray:
        """The samples that `chunk_mv` (n,) makes known, following on from those before it."""
        self._taken += len(chunk_mv)
        if self._fs_hz == self._target_hz:
            return chunk_mv
        return self._interpolated(np.concatenate((self._last_mv, chunk_mv)), self._known(self._taken))

    def finish(self) -> np.ndarray:
        """The last sample, where rounding puts it after the end of the input, else nothing, (0 or 1,)."""
        if self._fs_hz == self._target_hz or self._taken == 0:
            return np.zeros(0)
        return self._interpolated(self._last_mv, self._count(self._taken))

    def needed(self, sample: int) -> int:
        """The input sample that makes output `sample` known."""
        if self._fs_hz == self._target_hz:
            return sample
        taken = max(int(sample * self._fs_hz / self._target_hz), 1)
        while self._known(taken) <= sample:
            taken += 1
        return taken - 1

    def _interpolated(self, known_mv: np.ndarray, end: int) -> np.ndarray:
        """Samples up to `end` of the result; `known_mv` are the latest samples of the input."""
        self._last_mv = known_mv[-2:].copy()
        if end <= self._given:
            return np.zeros(0)
        known_s = np.arange(self._taken - len(known_mv), self._taken) / self._fs_hz
        wanted_s = np.arange(self._given, end) / self._target_hz
        self._given = end
        return np.interp(wanted_s, known_s, known_mv)

    def _count(self, taken: int) -> int:
        return int((taken - 1) * self._target_hz / self._fs_hz) + 1

    def _known(self, taken: int) -> int:
        """How many samples of the result lie within `taken` input samples, whatever way their times are rounded."""
        count = self._count(taken) if taken else 0
        while count and (count - 1) / self._target_hz > (taken - 1) / self._fs_hz:
            count -= 1
        return count


def z_score(windows: np.ndarray) -> np.ndarray:
    """Each row of `windows` (n, samples) brought to mean 0 and standard deviation 1; a flat row becomes zeros."""
    centred = windows - windows.mean(axis=-1, keepdims=True)
    deviation = windows.std(axis=-1, keepdims=True)
    return np.where(deviation > FLAT_MV, centred / np.maximum(deviation, FLAT_MV), 0.0)
