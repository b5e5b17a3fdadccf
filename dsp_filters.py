"""Signal processing: the Butterworth band-pass in its zero-phase and one-pass forms, resampling, z-score, R-peaks."""

from fractions import Fraction

import numpy as np
from scipy.signal import butter, resample_poly, sosfilt, sosfilt_zi, sosfiltfilt

FLAT_MV = 1e-6  # a window that varies less than this carries no beat


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


def resample(signal_mv: np.ndarray, fs_hz: float, target_hz: float, causal: bool) -> np.ndarray:
    """`signal_mv` (n,) brought from `fs_hz` to `target_hz`; sample k of the result lies at k / target_hz seconds.

    The causal form interpolates linearly, which looks ahead by less than one input sample; the other is polyphase
    with SciPy's anti-aliasing filter.
    """
    if fs_hz == target_hz:
        return signal_mv
    if not causal:
        ratio = Fraction(target_hz / fs_hz).limit_denominator(2000)
        return resample_poly(signal_mv, ratio.numerator, ratio.denominator, padtype="line")
    count = int((len(signal_mv) - 1) * target_hz / fs_hz) + 1
    return np.interp(np.arange(count) / target_hz, np.arange(len(signal_mv)) / fs_hz, signal_mv)


def z_score(windows: np.ndarray) -> np.ndarray:
    """Each row of `windows` (n, samples) brought to mean 0 and standard deviation 1; a flat row becomes zeros."""
    centred = windows - windows.mean(axis=-1, keepdims=True)
    deviation = windows.std(axis=-1, keepdims=True)
    return np.where(deviation > FLAT_MV, centred / np.maximum(deviation, FLAT_MV), 0.0)
