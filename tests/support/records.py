"""Records and beats for tests: written, spoiled, compared."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import wfdb

from deep_ecg.beats.arrays import Beats
from deep_ecg.system.errors import DeepECGError


def refused(call: Callable, *named: object) -> str:
    """The one-line message with which `call` is refused; it holds every text of `named`."""
    with pytest.raises(DeepECGError) as refusal:
        call()
    message = str(refusal.value)
    assert "\n" not in message
    assert all(str(text) in message for text in named), message
    return message


def assert_equal(beats: Beats, others: Beats):
    """The same beats to the bit."""
    for name in Beats.__dataclass_fields__:
        mine, other = getattr(beats, name), getattr(others, name)
        assert mine.dtype == other.dtype and np.array_equal(mine, other), name


def write_record(folder: Path, name: str, signal_mv: Sequence[float], fmt="16", units="mV", lead="MLII", fs=360) -> Path:
    """A WFDB record of one signal (n,), which is in `units`; its path without extension."""
    wfdb.wrsamp(name, fs, [units], [lead], p_signal=np.asarray(signal_mv)[:, None], fmt=[fmt], write_dir=str(folder))
    return folder / name


def write_beats(folder: Path, name: str, marks: Sequence[tuple[int, str]]) -> Path:
    """The annotation file NAME.atr with `marks`, (sample, symbol) each; its path without extension."""
    samples, symbols = zip(*marks)
    wfdb.wrann(name, "atr", np.array(samples), list(symbols), write_dir=str(folder))
    return folder / name
