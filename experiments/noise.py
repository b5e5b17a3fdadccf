"""Calibrated noise on a clean ECG, as in the noise stress test.

After Moody, Muldrow and Mark (Computers in Cardiology 11: 381-384, 1984) and the program `nst` of the WFDB Software
Package, whose manual page defines what is done here.

Noise comes from generators of four KINDS, seeded, or from noise records such as those of the MIT-BIH Noise Stress Test
Database.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from deep_ecg.records.wfdb_files import RecordFile
from deep_ecg.system.errors import DeepECGError
from dsp_filters import resample

LEARNING_S = 300.0  # without noise; then noisy and clean segments take turns
SEGMENT_S = 120.0
MEASURED = 300  # QRS complexes, and seconds of noise, by which amplitudes are measured
TRIMMED_SHARE = 0.05  # of the measurements at each end that are left out
QRS_REACH_S = 0.05
TINY = 1e-12

RECORDS = {"wander": "bw", "electrode": "em", "muscle": "ma"}  # names in the Noise Stress Test Database


# Signal-to-noise ratio -----------------------------------------------------------------------------------------------


def qrs_power(signal_mv: np.ndarray, peaks: np.ndarray, fs_hz: float) -> float:
    """Power of `signal_mv` (n,) in mV²: the square of its QRS amplitude over 8, as of a sine of that height.

    The amplitude is the trimmed mean, over the first MEASURED of `peaks` (normal beats), of the range from
    QRS_REACH_S before to QRS_REACH_S after R. A mean square would depend on the heart rate.
    """
    reach = round(QRS_REACH_S * fs_hz)
    inside = peaks[(peaks >= reach) & (peaks + reach < len(signal_mv))][:MEASURED]
    if len(inside) == 0:
        raise DeepECGError("the record has no normal beat by which its signal could be measured: choose another")
    heights_mv = np.ptp(signal_mv[inside[:, None] + np.arange(-reach, reach + 1)], axis=1)
    return _trimmed_mean(heights_mv) ** 2 / 8


def noise_power(noise: np.ndarray, fs_hz: float) -> float:
    """Power of `noise` (n,): the square of the trimmed mean of the standard deviations of its first MEASURED seconds.

    Slow noise, which troubles detectors little, so counts for little.
    """
    second = round(fs_hz)
    seconds = min(len(noise) // second, MEASURED)
    if seconds == 0:
        raise DeepECGError(f"the noise lasts {len(noise) / fs_hz:.2f} s: at least 1 s is needed")
    return _trimmed_mean(noise[: seconds * second].reshape(seconds, second).std(axis=1)) ** 2


def _trimmed_mean(values: np.ndarray) -> float:
    left_out = int(TRIMMED_SHARE * len(values))
    return float(np.sort(values)[left_out : len(values) - left_out].mean())


def gain_for(snr_db: float, signal_power: float, power: float) -> float:
    """What noise of `power` is multiplied by to lie `snr_db` below a signal of `signal_power`."""
    return float(np.sqrt(signal_power / (power * 10 ** (snr_db / 10))))


def noisy_samples(length: int, fs_hz: float) -> np.ndarray:
    """Which of `length` samples lie in noisy segments, (length,) bool: from LEARNING_S on every other SEGMENT_S."""
    since_s = np.arange(length) / fs_hz - LEARNING_S
    return (since_s >= 0) & (since_s // SEGMENT_S % 2 == 0)


def with_noise(signal_mv: np.ndarray, noise: np.ndarray, gain: float, fs_hz: float) -> np.ndarray:
    """`signal_mv` (n,) with `gain` times `noise` (any length, repeated as needed) in its noisy segments.

    As in `nst` nothing jumps where noise begins, ends or is repeated: the signal goes on from the level it has.
    """
    steps = np.resize(np.diff(noise, prepend=noise[:1]), len(signal_mv))
    return signal_mv + gain * np.cumsum(np.where(noisy_samples(len(signal_mv), fs_hz), steps, 0.0))


# Sources of noise ----------------------------------------------------------------------------------------------------


def read_noise(folder: Path, kind: str, fs_hz: float) -> np.ndarray:
    """The first signal of the noise record of `kind` in `folder` (WFDB, named as RECORDS has it), at `fs_hz`, (n,).

    Raises DeepECGError where it is missing or cannot be read.
    """
    file = RecordFile.open(folder / RECORDS[kind])
    record = file.lead(file.leads[0])
    return resample(record.signal_mv, record.fs_hz, fs_hz, causal=False)


def wander(length: int, fs_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Baseline wander: breath at 0.15 to 0.35 Hz whose depth changes, and slow drift; nothing above 1 Hz."""
    breath = band(length, fs_hz, (0.15, 0.35), rng)
    return breath + rng.uniform(0.3, 1.0) * band(length, fs_hz, (0.02, 0.6), rng)


def electrode(length: int, fs_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Electrode motion: steps that wear off, transients of the length of a QRS complex, some wander and muscle noise.

    Its spectrum lies upon that of the QRS complex, and single transients look like ectopic beats.
    """
    parts = {
        0.6: _events(length, fs_hz, 0.3, _step, rng),
        1.0: _events(length, fs_hz, 0.9, _transient, rng),
        0.3: wander(length, fs_hz, rng),
        0.15: muscle(length, fs_hz, rng),
    }
    return sum((share * _unit(part) for share, part in parts.items()), np.zeros(length))


def muscle(length: int, fs_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Muscle artefact: noise of 20 to 150 Hz (to 0.45 of the rate where that is lower) that comes in bursts."""
    bursts = np.minimum(_events(length, fs_hz, 0.12, _burst, rng, signed=False), 3.0)
    return band(length, fs_hz, (20.0, min(150.0, 0.45 * fs_hz)), rng) * (0.25 + bursts)


def mains(length: int, fs_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Mains of 50 or 60 Hz and some of its third harmonic, of drifting amplitude."""
    time_s = np.arange(length) / fs_hz
    base_hz = rng.choice((50.0, 60.0))
    amplitude = np.exp(0.4 * band(length, fs_hz, (0.005, 0.03), rng))
    harmonic = 0.1 * np.sin(2 * np.pi * 3 * base_hz * time_s) if 3 * base_hz < fs_hz / 2 else 0.0
    return amplitude * (np.sin(2 * np.pi * base_hz * time_s + rng.uniform(0, 2 * np.pi)) + harmonic)


KINDS: dict[str, Callable] = {"wander": wander, "electrode": electrode, "muscle": muscle, "mains": mains}


def generated(kind: str, length: int, fs_hz: float, seed: tuple[int, ...]) -> np.ndarray:
    """Noise of `kind`, (length,), always the same for the same `seed`; its unit has no meaning."""
    return KINDS[kind](length, fs_hz, np.random.default_rng([list(KINDS).index(kind), *seed]))


def _unit(noise: np.ndarray) -> np.ndarray:
    return noise / max(float(noise.std()), TINY)


def band(length: int, fs_hz: float, band_hz: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of `band_hz` with standard deviation 1, (length,).

    Made of its spectrum: a filter for a hundredth of a hertz would take minutes to settle.
    """
    spectrum = np.fft.rfft(rng.normal(size=length))
    frequency_hz = np.fft.rfftfreq(length, 1 / fs_hz)
    spectrum[(frequency_hz < band_hz[0]) | (frequency_hz > band_hz[1])] = 0
    return _unit(np.fft.irfft(spectrum, length))


def _events(
    length: int, fs_hz: float, rate_hz: float, shape: Callable, rng: np.random.Generator, signed: bool = True
) -> np.ndarray:
    """Events of random size at random times, `rate_hz` of them a second on average, (length,).

    `shape` makes one, (samples,); sizes are log-normal and, where `signed`, of either sign.
    """
    noise = np.zeros(length)
    for start in rng.integers(0, length, rng.poisson(rate_hz * length / fs_hz)):
        one = shape(fs_hz, rng) * np.exp(rng.normal(0, 0.5)) * (rng.choice((-1, 1)) if signed else 1)
        noise[start : start + len(one)] += one[: length - start]
    return noise


def _step(fs_hz: float, rng: np.random.Generator) -> np.ndarray:
    """A jump within 10 to 60 ms that wears off in 0.1 to 0.6 s."""
    decay_s, rise_s = rng.uniform(0.1, 0.6), rng.uniform(0.01, 0.06)
    time_s = np.arange(round(5 * decay_s * fs_hz)) / fs_hz
    return np.minimum(time_s / rise_s, 1) * np.exp(-time_s / decay_s)


def _transient(fs_hz: float, rng: np.random.Generator) -> np.ndarray:
    """A deflection of 60 to 200 ms, of one phase or of two."""
    width_s = rng.uniform(0.06, 0.2)
    at = np.linspace(-1, 1, round(width_s * fs_hz))
    return np.exp(-8 * at**2) * (1.0 if rng.random() < 0.5 else -3 * at)


def _burst(fs_hz: float, rng: np.random.Generator) -> np.ndarray:
    """The envelope of a burst of 0.5 to 5 s."""
    return np.hanning(round(rng.uniform(0.5, 5.0) * fs_hz))
