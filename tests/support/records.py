"""Records and beats for tests: drawn, written, compared."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import wfdb
from scipy.signal import butter, sosfilt

from deep_ecg.beats.arrays import Beats
from deep_ecg.system.errors import DeepECGError


def refused(call: Callable, *named: object) -> str:
    """The one printable line with which `call` is refused; it holds every text of `named`."""
    with pytest.raises(DeepECGError) as refusal:
        call()
    message = str(refusal.value)
    assert message.isprintable()
    assert all(str(text) in message for text in named), message
    return message


def assert_equal(beats: Beats, others: Beats):
    """The same beats to the bit."""
    for name in Beats.__dataclass_fields__:
        mine, other = getattr(beats, name), getattr(others, name)
        assert mine.dtype == other.dtype and np.array_equal(mine, other, equal_nan=name == "rr_s"), name


def written_beats(path: Path, extension: str = "pred") -> wfdb.Annotation:
    """The beats of the annotation file `path`.`extension`, without the marks of the rhythm."""
    found = wfdb.rdann(str(path), extension)
    beats = [number for number, symbol in enumerate(found.symbol) if symbol != "+"]
    found.symbol, found.aux_note = ([column[k] for k in beats] for column in (found.symbol, found.aux_note))
    found.sample = found.sample[beats]
    return found


def write_record(
    folder: Path, name: str, signal_mv: Sequence[float], fmt="16", units="mV", lead="MLII", fs=360
) -> Path:
    """A WFDB record of one signal (n,), which is in `units`; its path without extension."""
    wfdb.wrsamp(name, fs, [units], [lead], p_signal=np.asarray(signal_mv)[:, None], fmt=[fmt], write_dir=str(folder))
    return folder / name


def write_beats(folder: Path, name: str, marks: Sequence[tuple[int, str]]) -> Path:
    """The annotation file NAME.atr with `marks`, (sample, symbol) each; its path without extension."""
    samples, symbols = zip(*marks)
    wfdb.wrann(name, "atr", np.array(samples), list(symbols), write_dir=str(folder))
    return folder / name


def beat_times_s(duration_s: float, seed: int = 3) -> np.ndarray:
    """R-peaks at irregular intervals of 0.6 to 1.1 s."""
    times_s = 0.5 + np.cumsum(np.random.default_rng(seed).uniform(0.6, 1.1, int(2 * duration_s)))
    return times_s[times_s < duration_s - 0.5]


def motion_mv(count: int, fs_hz: float, seed: int = 0) -> np.ndarray:
    """Motion of the electrodes in which no beat can be seen: noise of 0.5 to 3 Hz, some 10 mV of it, (count,)."""
    sos = butter(2, (0.5, 3), "bandpass", fs=fs_hz, output="sos")
    noise = sosfilt(sos, np.random.default_rng(seed).normal(size=count))
    return 10 * noise / noise.std()


def spikes_mv(times_s: np.ndarray, duration_s: float, fs_hz: float, amplitude_mv: float = 1.0) -> np.ndarray:
    """A QRS-like spike (Gaussian of 12 ms) at each time, on baseline wander of 0.3 Hz and white noise of 0.02 mV."""
    t_s = np.arange(round(duration_s * fs_hz)) / fs_hz
    signal_mv = 0.2 * np.sin(2 * np.pi * 0.3 * t_s) + np.random.default_rng(4).normal(0, 0.02, len(t_s))
    for time_s in times_s:
        signal_mv += amplitude_mv * np.exp(-0.5 * ((t_s - time_s) / 0.012) ** 2)
    return signal_mv
