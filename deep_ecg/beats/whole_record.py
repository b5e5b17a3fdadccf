"""R-peaks of a whole record: those of the causal detector, and a second look at the stretches in which it found none.

After an artefact the detector can need up to FORGET_S to find its levels again, and hum of the mains can hide small
beats from it. A whole record can be read backward too, with the levels known from the beats that come after such a
stretch, and averaged over periods of the mains.
"""

import numpy as np
from scipy.ndimage import uniform_filter1d

from deep_ecg.beats.detector import (
    ENERGY_S,
    FORGET_S,
    LEARN_S,
    QRS_BAND_HZ,
    REFRACTORY_S,
    RPeakDetector,
    causal_r_peaks,
)
from deep_ecg.beats.signal_watch import SignalWatch
from dsp_filters import bandpass_sos, filter_zero_phase

LOOK_AGAIN_S = 3.0  # a stretch without beats that is longer than a pause is looked at again
LEAD_IN_S = FORGET_S + LEARN_S  # of the signal after it come before it backward: enough to learn the levels
MAINS_HZ = (50.0, 60.0)
AROUND_S = 2.0  # a beat found there must have CLEAR times the median energy from so long before it to so long after
CLEAR = 2.75  # white noise, of whatever height, seldom reaches it
FEWEST = 3  # beats in a row, none more than LOOK_AGAIN_S after the one before it: fewer are as likely noise


def r_peaks(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """R-peak samples of `signal_mv` (n,) at `fs_hz`, (beats,) int64, rising; empty where no beat is found.

    Samples that are not numbers are lost signal. DeepECGError where the detector cannot run at that rate.
    """
    found = causal_r_peaks(signal_mv, fs_hz)
    edges = np.concatenate(([0], found, [len(signal_mv)]))
    gaps = np.flatnonzero(np.diff(edges) > LOOK_AGAIN_S * fs_hz)
    if len(gaps) == 0:
        return found
    filled_mv, missing = SignalWatch(fs_hz)(signal_mv)
    more = [_looked_again(filled_mv, missing, fs_hz, int(edges[gap]), int(edges[gap + 1])) for gap in gaps]
    return np.sort(np.concatenate([found, *more]))


def _looked_again(filled_mv: np.ndarray, missing: np.ndarray, fs_hz: float, start: int, end: int) -> np.ndarray:
    """The beats between the samples `start` and `end` that the detector finds backward, (beats,) int64."""
    span = slice(start, end + round(LEAD_IN_S * fs_hz))
    calm_mv = _without_mains(filled_mv[span], fs_hz)
    beats = RPeakDetector(fs_hz).push_watched(calm_mv[::-1], missing[span][::-1])
    found = np.sort(np.array([len(calm_mv) - 1 - r for r, _ in beats], np.int64))
    refractory = round(REFRACTORY_S * fs_hz)
    found = found[(found > refractory) & (found < end - start - refractory)]
    found = found[_clear(calm_mv, found, fs_hz)]
    return start + found[_in_a_row(found, LOOK_AGAIN_S * fs_hz)]


def _without_mains(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """`signal_mv` (n,) averaged over a period of each of MAINS_HZ: where it is stuck at one value, it stays so."""
    for mains_hz in MAINS_HZ:
        signal_mv = uniform_filter1d(signal_mv, max(round(fs_hz / mains_hz), 1), mode="nearest")
    return signal_mv


def _clear(signal_mv: np.ndarray, peaks: np.ndarray, fs_hz: float) -> np.ndarray:
    """Whether each of `peaks` (beats,) stands out from the signal around it, (beats,) bool."""
    deflection_mv = np.abs(filter_zero_phase(signal_mv, bandpass_sos(QRS_BAND_HZ, 2, fs_hz)))
    energy_mv = uniform_filter1d(deflection_mv, round(ENERGY_S * fs_hz))
    near, around = round(ENERGY_S * fs_hz), round(AROUND_S * fs_hz)
    spans = [(max(peak - near, 0), peak + near + 1, max(peak - around, 0), peak + around) for peak in peaks.tolist()]
    return np.array([energy_mv[a:b].max() >= CLEAR * np.median(energy_mv[c:d]) for a, b, c, d in spans], bool)


def _in_a_row(peaks: np.ndarray, longest: float) -> np.ndarray:
    """Whether each of `peaks` (beats,) is one of FEWEST or more that follow one another within `longest` samples."""
    rows = np.cumsum(np.diff(peaks, prepend=peaks[:1]) > longest)
    return np.bincount(rows)[rows] >= FEWEST if len(peaks) else np.zeros(0, bool)
