"""Signal processing: the Butterworth band-pass in its zero-phase and one-pass forms, resampling, z-score.

One-pass filter and causal resampling also come in chunks of any size, as a live stream does, with the same results to
the bit.

Filters and resampling are those of `scipy.signal`, to the bit, without that package: importing it takes longer than
labelling half an hour of ECG. What loops over samples is SciPy's own compiled code.
"""

import sys
from fractions import Fraction
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from math import ceil
from pathlib import Path
from types import ModuleType

import numpy as np
import scipy

FLAT_MV = 1e-6  # a window that varies less than this carries no beat
BLOCK_SAMPLES = 2**20  # of a signal that is filtered both ways: half an hour at 500 Hz is one block
SETTLE_CYCLES = 10  # after which a Butterworth filter of low order has forgotten, to the last bits of a number
AS_REAL = 100 * np.finfo(float).eps  # of a pole's distance from 0: less of it is no imaginary part
KAISER, KAISER_CYCLES = 5.0, 10  # the window of the anti-aliasing filter, and how far that reaches to either side


def _compiled(name: str) -> ModuleType:
    """The compiled module `name` of SciPy alone: an import statement would run the packages that it lies in, too."""
    if name not in sys.modules:
        folder = Path(scipy.__file__).parent.joinpath(*name.split(".")[1:-1])
        spec = PathFinder.find_spec(name, [str(folder)])
        if spec is None or spec.loader is None:
            raise ImportError(f"SciPy {scipy.__version__} has no {name}: install requirements.txt")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    return sys.modules[name]


_sosfilt = _compiled("scipy.signal._sosfilt")._sosfilt
_upfirdn = _compiled("scipy.signal._upfirdn_apply")
_bessel_i0 = _compiled("scipy.special._special_ufuncs").i0  # NumPy's rounds otherwise on some processors


def bandpass_sos(band_hz: tuple[float, float], order: int, fs_hz: float) -> np.ndarray:
    """Butterworth band-pass as second-order sections, shape (order, 6): `scipy.signal.butter`.

    Second-order sections stay accurate where the transfer-function form does not: 0.5 Hz is 1/360 of Nyquist here.
    ValueError where the band does not lie between 0 and half of `fs_hz`.
    """
    if not 0 < band_hz[0] < band_hz[1] < fs_hz / 2:
        raise ValueError(f"the band {band_hz} Hz does not lie between 0 and half of {fs_hz:g} Hz")
    low, high = _warped(np.array(band_hz, float), fs_hz)
    lowpass = _butterworth(order) * (high - low) / 2
    root = np.sqrt(lowpass**2 - np.sqrt(low * high) ** 2)
    return _digital(np.concatenate((lowpass + root, lowpass - root)), order, (high - low) ** order)


def lowpass_sos(edge_hz: float, order: int, fs_hz: float) -> np.ndarray:
    """Butterworth low-pass as second-order sections, shape (order / 2 rounded up, 6): `scipy.signal.butter`."""
    edge = _warped(np.array(edge_hz, float), fs_hz)
    return _digital(edge * _butterworth(order), 0, float(edge) ** order)


def _warped(frequency_hz: np.ndarray, fs_hz: float) -> np.ndarray:
    """The analog frequencies that the bilinear transform below takes to `frequency_hz`."""
    return 4 * np.tan(np.pi * (frequency_hz / (fs_hz / 2)) / 2)


def _butterworth(order: int) -> np.ndarray:
    """Poles of the analog low-pass to 1, (order,)."""
    return -np.exp(1j * np.pi * np.arange(1.0 - order, order, 2) / (2 * order))


def _digital(poles: np.ndarray, zeros: int, gain: float) -> np.ndarray:
    """By the bilinear transform, the sections of the analog filter of these `poles` and so many `zeros` at 0."""
    sos = _sections((4 + poles) / (4 - poles), [1.0] * zeros + [-1.0] * (len(poles) - zeros))
    sos[0, :3] *= gain * np.real(4.0**zeros / np.prod(4 - poles))
    return sos


def _sections(poles: np.ndarray, zeros: list[float]) -> np.ndarray:
    """Second-order sections of `poles` and as many real `zeros`, those of the poles nearest to the unit circle last.

    Each has the zeros that lie nearest to its poles; of an odd number one has a pole and a zero at 0.
    """
    left, sections = _one_of_each_pair(poles), np.zeros((0, 6))
    if len(poles) % 2:
        left, zeros = [*left, 0j], [*zeros, 0.0]
    while left:
        pole = _nearest_to_circle(left)
        left.remove(pole)
        mate = pole.conjugate()
        if not pole.imag:
            mate = _nearest_to_circle([one for one in left if not one.imag])
            left.remove(mate)
        near = sorted(zeros, key=lambda zero: abs(zero - pole))[:2]
        for zero in near:
            zeros.remove(zero)
        sections = np.vstack((np.real([*np.poly(near), *np.poly([pole, mate])]), sections))
    return sections


def _one_of_each_pair(poles: np.ndarray) -> list[complex]:
    """Of the complex `poles` that with the positive imaginary part, at the mean of the two; and the real ones."""
    real = np.abs(poles.imag) <= AS_REAL * np.abs(poles)
    above, below = poles[~real & (poles.imag > 0)], poles[~real & (poles.imag < 0)].conj()
    pairs = [(one + below[np.abs(below - one).argmin()]) / 2 for one in above]
    return [complex(one) for one in (*pairs, *poles[real].real)]


def _nearest_to_circle(poles: list[complex]) -> complex:
    return min(poles, key=lambda one: abs(1 - abs(one)))


def filter_zero_phase(signal_mv: np.ndarray, sos: np.ndarray) -> np.ndarray:
    """`signal_mv` (n,) filtered forward and backward: no delay, but every output depends on the future.

    `scipy.signal.sosfiltfilt`: at both ends the signal goes on as its own image, turned about its last sample.
    ValueError where it is too short for that.
    """
    order = len(sos) + np.count_nonzero(sos[:, 5])
    reach = 3 * (order + 1)
    if len(signal_mv) <= reach:
        raise ValueError(f"{len(signal_mv)} samples are too few to be filtered: more than {reach} are needed")
    before, after = 2 * signal_mv[0] - signal_mv[reach:0:-1], 2 * signal_mv[-1] - signal_mv[-2 : -reach - 2 : -1]
    extended_mv = np.concatenate((before, signal_mv, after))
    forward_mv = OnePassFilter(sos)(extended_mv)
    return OnePassFilter(sos)(forward_mv[::-1])[::-1][reach:-reach]


class OnePassFilter:
    """The same filter run forward only, in chunks of any size, with its state carried from chunk to chunk.

    The state starts as if the first sample had lasted for ever, so that a record that begins away from zero shows
    no transient. Every output depends on the present and the past alone.
    """

    def __init__(self, sos: np.ndarray):
        self._sos = sos
        self._state: np.ndarray | None = None

    def __call__(self, chunk_mv: np.ndarray) -> np.ndarray:
        """Filtered `chunk_mv` (n,), following on from the chunks before it."""
        if len(chunk_mv) == 0:
            return np.zeros(0)
        if self._state is None:
            self._state = _steady_state(self._sos) * chunk_mv[0]
        filtered = np.array(chunk_mv, float, order="C")
        _sosfilt(self._sos, filtered[None], self._state[None])  # both in place
        return filtered


def _steady_state(sos: np.ndarray) -> np.ndarray:
    """The state of each section after 1 has lasted for ever, (sections, 2): `scipy.signal.sosfilt_zi`."""
    states, level = [], 1.0
    for b0, b1, b2, _, a1, a2 in sos.tolist():
        states.append(level * np.linalg.solve([[1 + a1, -1], [a2, 1]], [b1 - a1 * b0, b2 - a2 * b0]))
        level *= (b0 + b1 + b2) / (1 + a1 + a2)
    return np.array(states)


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
        return _resampled(signal_mv, rate_ratio(fs_hz, target_hz))
    count = int((len(signal_mv) - 1) * target_hz / fs_hz) + 1
    return np.interp(np.arange(count) / target_hz, np.arange(len(signal_mv)) / fs_hz, signal_mv)


def places_of(samples: np.ndarray, fs_hz: float, target_hz: float, causal: bool) -> np.ndarray:
    """Where `samples` (n,) of a signal at `fs_hz` lie in what `resample` makes of it, (n,) int64.

    The form that is not causal goes by a ratio of whole numbers: at a rate such as 359.9 Hz that and the exact one are
    seconds apart at the end of a day.
    """
    if causal:
        return np.round(samples * target_hz / fs_hz).astype(np.int64)
    ratio = rate_ratio(fs_hz, target_hz)
    return np.round(samples * ratio.numerator / ratio.denominator).astype(np.int64)


def _resampled(signal_mv: np.ndarray, ratio: Fraction) -> np.ndarray:
    """`signal_mv` (n,) at `ratio` times its rate: `scipy.signal.resample_poly` with padtype "line"."""
    up, down = ratio.numerator, ratio.denominator
    lowpass, middle = _anti_aliasing(1 / max(up, down)) * up, KAISER_CYCLES * max(up, down)
    before = down - middle % down  # zeros that put the middle of the filter on a sample of the result
    first, count = (middle + before) // down, -(-len(signal_mv) * up // down)
    after = max((first + count - 1) * down - (len(signal_mv) - 1) * up + 1 - before - len(lowpass), 0)
    taps = np.concatenate((np.zeros(before), lowpass, np.zeros(after)))
    found_mv = np.zeros(_upfirdn._output_len(len(taps), len(signal_mv), up, down))
    phases = np.append(taps, np.zeros(-len(taps) % up)).reshape(-1, up).T[:, ::-1].ravel()
    line = _upfirdn.mode_enum("line")
    _upfirdn._apply(np.asarray(signal_mv, float), phases, found_mv, up, down, 0, line, 0)
    return found_mv[first : first + count]


def _anti_aliasing(cutoff: float) -> np.ndarray:
    """Taps of a low-pass to `cutoff` of half the rate that it runs at: `scipy.signal.firwin` with a Kaiser window."""
    middle = KAISER_CYCLES * round(1 / cutoff)
    places = np.arange(-middle, middle + 1.0)
    window = _bessel_i0(KAISER * np.sqrt(1 - (places / middle) ** 2)) / _bessel_i0(KAISER)
    taps = cutoff * np.sinc(cutoff * places) * window
    return taps / taps.sum()


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


def running_mean(signal: np.ndarray, size: int, mode: str = "edge") -> np.ndarray:
    """The mean of the `size` values around each of `signal` (n,): `scipy.ndimage.uniform_filter1d`.

    Where they reach beyond its ends it goes on as its last value, or by another `mode` of `np.pad`.
    """
    padded = np.pad(signal, (size // 2, (size - 1) // 2), mode=mode)  # type: ignore[call-overload]
    return np.cumsum(np.concatenate((padded[:size], padded[size:] - padded[:-size])))[size - 1 :] / size


def detrended(signal: np.ndarray) -> np.ndarray:
    """`signal` (n,), n > 0, without the straight line that fits it best: `scipy.signal.detrend`."""
    line = np.ones((len(signal), 2))
    line[:, 0] = np.arange(1, len(signal) + 1) / len(signal)
    return signal - line @ np.linalg.lstsq(line, signal)[0]


def periodogram(signal: np.ndarray, fs_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (m,) in Hz and what power lies at each, (m,) in no unit, of `signal` (n,), n > 0, without its trend.

    `scipy.signal.periodogram` but for a factor.
    """
    power = np.abs(np.fft.rfft(detrended(signal))) ** 2
    power[1 : (len(signal) + 1) // 2] *= 2  # of the negative frequencies, too
    return np.fft.rfftfreq(len(signal), 1 / fs_hz), power


def z_score(windows: np.ndarray) -> np.ndarray:
    """Each row of `windows` (n, samples) brought to mean 0 and standard deviation 1; a flat row becomes zeros."""
    centred = windows - windows.mean(axis=-1, keepdims=True)
    deviation = windows.std(axis=-1, keepdims=True)
    return np.where(deviation > FLAT_MV, centred / np.maximum(deviation, FLAT_MV), 0.0)
