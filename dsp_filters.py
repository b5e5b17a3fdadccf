"""Signal processing: the Butterworth band-pass in its zero-phase and one-pass forms, resampling, z-score, R-peaks, and
where the signal is lost.
"""

import math
from bisect import bisect_right
from fractions import Fraction

import numpy as np
from scipy.signal import butter, resample_poly, sosfilt, sosfilt_zi, sosfiltfilt
from wfdb.processing import xqrs_detect

FLAT_MV = 1e-6  # a window that varies less than this carries no beat
DETECTOR_HZ = 160.0  # XQRS finds 0.5 % more of DS1's beats than at 360 Hz, as few false ones, in a third of the time
EXTREMUM_BAND_HZ = (3.0, 30.0)  # without the T wave's slope and muscle noise; the median distance on DS1 is 0 ms
EXTREMUM_REACH_S = 0.1
REFRACTORY_S = 0.15  # two detections that are moved closer than this are one beat

LIMIT_MV = 1e4  # a sample beyond it, or one that is not a number, is missing
MISSING_S = 0.03  # a longer stretch of missing samples, or one of FLAT_S without any change, is lost signal: MIT-BIH's
FLAT_S = 0.5  # own records do not stay at one value for 0.03 s, but for one stretch of 0.7 s in record 116


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


class SignalWatch:
    """Keeps watch over the samples of one lead, in chunks of any size: fills what is missing, tells what is lost.

    A sample is lost where more than MISSING_S up to it were missing, or FLAT_S and more up to it stayed at one value
    (electrode off, saturation). Whether a sample is lost depends on the past alone. The stretches are kept until
    `forget`, for `lost_between`.
    """

    def __init__(self, fs_hz: float):
        self._missing_limit, self._flat_limit = MISSING_S * fs_hz, FLAT_S * fs_hz
        self._pushed, self._last_mv = 0, 0.0
        self._missing_run, self._unchanged_run = 0, 0
        self._lowest_mv, self._highest_mv = math.inf, -math.inf
        self._starts: list[int] = []  # first and last samples of the lost stretches, rising
        self._ends: list[int] = []

    def __call__(self, chunk_mv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next samples (n,), n > 0, with each missing one replaced by the one before it, and which were missing.

        0 stands for what is missing at the very start.
        """
        filled_mv, missing = _filled(chunk_mv, self._last_mv)
        missing_runs = run_lengths(missing, self._missing_run)
        unchanged_runs = run_lengths(np.diff(filled_mv, prepend=self._last_mv) == 0, self._unchanged_run)
        self._note((missing_runs > self._missing_limit) | (unchanged_runs >= self._flat_limit))
        self._missing_run, self._unchanged_run = int(missing_runs[-1]), int(unchanged_runs[-1])
        self._lowest_mv = min(self._lowest_mv, float(filled_mv.min()))
        self._highest_mv = max(self._highest_mv, float(filled_mv.max()))
        self._last_mv = float(filled_mv[-1])
        self._pushed += len(chunk_mv)
        return filled_mv, missing

    @property
    def fault(self) -> str | None:
        """Why the latest sample is lost; None where it is not.

        "missing": no numbers; "flat" or "saturated": no change, the latter at the highest or lowest value so far.
        """
        if self._missing_run > self._missing_limit:
            return "missing"
        if self._unchanged_run < self._flat_limit:
            return None
        at_rail = self._last_mv in (self._lowest_mv, self._highest_mv) and self._lowest_mv < self._highest_mv
        return "saturated" if at_rail else "flat"

    def lost_between(self, earlier: int, later: int) -> bool:
        """Whether any sample after `earlier` and up to `later` is lost: there is no RR interval between the two."""
        place = bisect_right(self._ends, earlier)
        return place < len(self._ends) and self._starts[place] <= later

    def forget(self, before: int):
        """Drops what no question needs whose `later` is `before` or more: all that ended earlier but the last."""
        surplus = max(bisect_right(self._ends, before) - 1, 0)
        del self._starts[:surplus], self._ends[:surplus]

    def _note(self, lost: np.ndarray):
        """Takes in the stretches of the chunk's lost samples, of which the first may go on with the latest."""
        if not lost.any():
            return
        starts, ends = (list(edges) for edges in zip(*stretches(lost, self._pushed)))
        if self._ends and self._ends[-1] + 1 == starts[0]:
            self._ends[-1] = ends.pop(0)
            starts.pop(0)
        self._starts += starts
        self._ends += ends


def stretches(flags: np.ndarray, offset: int = 0) -> list[tuple[int, int]]:
    """First and last sample of each run of True in `flags` (n,), whose first sample is number `offset`."""
    edges = np.diff(flags, prepend=False, append=False).nonzero()[0] + offset
    return list(zip(edges[::2].tolist(), (edges[1::2] - 1).tolist()))


def run_lengths(flags: np.ndarray, run: int) -> np.ndarray:
    """How many of `flags` (n,) up to each are True in a row, (n,); `run` came before the first."""
    if not flags.any():
        return np.zeros(len(flags), np.int64)
    at = np.arange(1, len(flags) + 1)
    return at - np.maximum.accumulate(np.where(flags, -run, at))


def _filled(chunk_mv: np.ndarray, last_mv: float) -> tuple[np.ndarray, np.ndarray]:
    """The chunk (n,) with each missing sample replaced by the one before it, and which were missing (n,).

    `last_mv` came before the chunk. Missing is what is no number, or beyond LIMIT_MV.
    """
    missing = ~(np.abs(chunk_mv) <= LIMIT_MV)
    if not missing.any():
        return chunk_mv, missing
    latest = np.maximum.accumulate(np.where(missing, -1, np.arange(len(chunk_mv))))
    return np.where(latest >= 0, chunk_mv[latest], last_mv), missing


def z_score(windows: np.ndarray) -> np.ndarray:
    """Each row of `windows` (n, samples) brought to mean 0 and standard deviation 1; a flat row becomes zeros."""
    centred = windows - windows.mean(axis=-1, keepdims=True)
    deviation = windows.std(axis=-1, keepdims=True)
    return np.where(deviation > FLAT_MV, centred / np.maximum(deviation, FLAT_MV), 0.0)


def detect_r_peaks(signal_mv: np.ndarray, fs_hz: float) -> np.ndarray:
    """R-peak samples of `signal_mv` (n,) at `fs_hz`, (beats,) int64, rising; empty where no beat is found.

    WFDB's XQRS finds the beats at DETECTOR_HZ; each is then moved to the highest or lowest point near it, which is
    where MIT-BIH's annotators put the beat. Looks at the whole record: it is not causal.
    """
    if len(signal_mv) < fs_hz:
        return np.empty(0, np.int64)
    at_detector_rate = resample(signal_mv, fs_hz, DETECTOR_HZ, causal=False)
    found = np.asarray(xqrs_detect(sig=at_detector_rate, fs=DETECTOR_HZ, verbose=False), float)
    peaks = np.unique(_to_extremum(signal_mv, np.round(found * fs_hz / DETECTOR_HZ).astype(np.int64), fs_hz))
    return peaks[np.diff(peaks, prepend=-np.inf) >= REFRACTORY_S * fs_hz]


def _to_extremum(signal_mv: np.ndarray, peaks: np.ndarray, fs_hz: float) -> np.ndarray:
    """Each of `peaks` moved to the largest deflection of the band-passed signal within EXTREMUM_REACH_S."""
    low, high = EXTREMUM_BAND_HZ
    deflection = np.abs(filter_zero_phase(signal_mv, bandpass_sos((low, min(high, 0.4 * fs_hz)), 2, fs_hz)))
    reach = round(EXTREMUM_REACH_S * fs_hz)
    starts = np.maximum(peaks - reach, 0)
    moved = [start + deflection[start : peak + reach + 1].argmax() for start, peak in zip(starts, peaks)]
    return np.array(moved, np.int64)
