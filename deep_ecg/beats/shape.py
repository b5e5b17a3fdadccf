"""Windows of the ECG around each beat, and how a beat's QRS and P wave differ from the patient's usual ones."""

import numpy as np

from deep_ecg.beats.templates import RunningMean, centred_unit
from dsp_filters import FLAT_MV, z_score

SHAPE = (
    "log_amplitude_ratio",
    "peak_difference",
    "trough_difference",
    "qrs_residual",
    "log_spread_ratio",
    "log_width_ratio",
)
P_MEMORIES_BEATS = (8, 32)  # how far back P waves are remembered
P_WAVE = ("p_wave_correlation", *(f"p_wave_correlation_{memory}" for memory in P_MEMORIES_BEATS))
DIFFERENCE_LIMIT = 20.0  # standard deviations of the beat
QRS_S = (-0.085, 0.085)  # span around R
P_WAVE_S = (-0.24, -0.07)  # span of the P wave around R
P_SMOOTHED_S = 0.05  # over which a P wave is averaged: it is slower than muscle noise and mains


def shape_inputs(
    beats_mv: np.ndarray, aligned_mv: np.ndarray, templates_mv: np.ndarray, qrs: slice
) -> tuple[np.ndarray, np.ndarray]:
    """The inputs that do not depend on the rhythm: windows (beats, CHANNELS, samples), features (beats, len(SHAPE)).

    beats_mv (beats, samples) are the windows of the filtered signal, the others what `RunningTemplate` made of them.
    """
    return _windows(beats_mv, aligned_mv - templates_mv), shape_features(aligned_mv, templates_mv, qrs)


def _windows(beats_mv: np.ndarray, differences_mv: np.ndarray) -> np.ndarray:
    """Both channels, (beats, CHANNELS, samples) float32, in standard deviations of the beat; 0 where that is flat."""
    deviation_mv = beats_mv.std(axis=1, keepdims=True)
    differences = differences_mv / np.maximum(deviation_mv, FLAT_MV)
    differences = np.where(deviation_mv > FLAT_MV, np.clip(differences, -DIFFERENCE_LIMIT, DIFFERENCE_LIMIT), 0)
    return np.stack([z_score(beats_mv), differences], axis=1).astype(np.float32)


def cut_windows(signal_mv: np.ndarray, peaks: np.ndarray, before: int, after: int) -> np.ndarray:
    """The window of each beat, (beats, before + after).

    Beyond the record's ends the first or last sample is repeated, so that no beat is left out.
    """
    return signal_mv.take(peaks[:, None] + np.arange(-before, after), mode="clip")


def qrs_span(before: int, after: int, fs_hz: float) -> slice:
    """Where the QRS lies in a window of samples R - before ... R + after - 1."""
    return _span(QRS_S, before, after, fs_hz)


def p_wave_span(before: int, after: int, fs_hz: float) -> slice:
    """Where the P wave lies in such a window, if it reaches so far back."""
    return _span(P_WAVE_S, before, after, fs_hz)


def p_smoothed_samples(fs_hz: float) -> int:
    """How many samples of a P wave are averaged before it is compared."""
    return max(round(P_SMOOTHED_S * fs_hz), 1)


def _span(span_s: tuple[float, float], before: int, after: int, fs_hz: float) -> slice:
    """`span_s`, seconds around R, in such a window; empty where that does not reach so far."""
    start, stop = (before + round(second * fs_hz) for second in span_s)
    return slice(max(start, 0), max(min(stop, before + after), 0))


def shape_features(beats_mv: np.ndarray, templates_mv: np.ndarray, qrs: slice) -> np.ndarray:
    """How each beat differs from its running template, (beats, len(SHAPE)) float32.

    beats_mv and templates_mv are (beats, samples); `qrs` is the span of the QRS in them. No feature depends on the
    gain.
    """
    both_mv = np.stack([beats_mv[:, qrs], templates_mv[:, qrs]])
    highest_mv, lowest_mv = both_mv.max(axis=-1), both_mv.min(axis=-1)
    own_mv, template_mv = highest_mv - lowest_mv
    amplitude_mv = np.maximum(template_mv, FLAT_MV)
    residual_mv = np.sqrt(((both_mv[0] - both_mv[1]) ** 2).mean(axis=1))
    values = {
        "log_amplitude_ratio": _log_ratio(own_mv, amplitude_mv),
        "peak_difference": _limited((highest_mv[0] - highest_mv[1]) / amplitude_mv),
        "trough_difference": _limited((lowest_mv[0] - lowest_mv[1]) / amplitude_mv),
        "qrs_residual": _limited(residual_mv / amplitude_mv),
        "log_spread_ratio": _log_ratio(*_spread(both_mv)),
        "log_width_ratio": _log_ratio(*_half_width(both_mv)),
    }
    return np.array([values[name] for name in SHAPE]).T.astype(np.float32, order="C")


def _spread(qrs_mv: np.ndarray) -> np.ndarray:
    """Standard deviation, in samples, of the time at which each QRS's slope has its energy, plus one.

    qrs_mv (..., samples); the result (...).
    """
    energy = (qrs_mv[..., 1:] - qrs_mv[..., :-1]) ** 2
    share = energy / np.maximum(energy.sum(axis=-1, keepdims=True), FLAT_MV**2)
    at = np.arange(energy.shape[-1])
    centre = (share * at).sum(axis=-1, keepdims=True)
    return 1 + np.sqrt((share * (at - centre) ** 2).sum(axis=-1))


def _half_width(qrs_mv: np.ndarray) -> np.ndarray:
    """Samples in which each QRS (..., samples) is more than half its largest deflection from its median, plus one."""
    ordered_mv, samples = np.sort(qrs_mv, axis=-1), qrs_mv.shape[-1]  # numpy.median takes several times as long
    median_mv = (ordered_mv[..., (samples - 1) // 2] + ordered_mv[..., samples // 2]) / 2
    deflection = np.abs(qrs_mv - median_mv[..., None])
    return 1.0 + (deflection > deflection.max(axis=-1, keepdims=True) / 2).sum(axis=-1)


def _log_ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.log(np.clip(numerator / denominator, 0.1, 10))


def _limited(difference: np.ndarray) -> np.ndarray:
    return np.clip(difference, -3, 3)


def _moving_mean(rows: np.ndarray, width: int) -> np.ndarray:
    """The mean of each `width` neighbours in rows (n, samples), (n, samples - width + 1), or (n, 0) with too few."""
    sums = np.cumsum(np.pad(rows, ((0, 0), (1, 0))), axis=1)
    return (sums[:, width:] - sums[:, :-width]) / width


class PWaveMemory:
    """How like the patient's usual P wave each beat's is, and those of late have been.

    In atrial fibrillation they are not alike, in a regular rhythm with ectopic beats most are. They are compared
    smoothed, for noise makes all waves as small as these unlike. A mean is over as many earlier beats as
    P_MEMORIES_BEATS says, older ones fading; it is 0 before the first. `p_wave` is the span of the P wave in a window
    (`p_wave_span`).
    """

    def __init__(self, p_wave: slice, fs_hz: float):
        self._span, self._width = p_wave, p_smoothed_samples(fs_hz)
        self._means = [RunningMean(0.0, 0, memory) for memory in P_MEMORIES_BEATS]

    def steps(self, aligned_mv: np.ndarray, templates_mv: np.ndarray) -> np.ndarray:
        """The features P_WAVE of the next beats, (beats, len(P_WAVE)) float32.

        aligned_mv and templates_mv (beats, samples) are what `RunningTemplate` made of them.
        """
        own, usual = (self._unit(beats_mv) for beats_mv in (aligned_mv, templates_mv))
        correlations = np.add.reduce(own * usual, axis=-1).tolist()
        return np.array([self._step(one) for one in correlations], np.float32).reshape(-1, len(P_WAVE))

    def _unit(self, beats_mv: np.ndarray) -> np.ndarray:
        """The P waves of `beats_mv` (beats, samples) smoothed, centred, of length 1, (beats, span - width + 1)."""
        return centred_unit(_moving_mean(beats_mv[:, self._span], self._width))

    def _step(self, correlation: float) -> list[float]:
        row = [correlation, *(running.mean for running in self._means)]
        for running in self._means:
            running.add(correlation)
        return row
