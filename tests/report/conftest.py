"""Records of which every figure can be worked out by hand."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from config import CLASSES
from deep_ecg.report.beat_series import BeatSeries


@pytest.fixture
def beats() -> Callable[..., BeatSeries]:
    """Makes beats with these `letters`, the first at 1 s, `rr_ms` between them, at 1000 Hz; 1 s follows the last."""

    def made(letters: str, rr_ms: Sequence[int] | int = 800, **more) -> BeatSeries:
        steps = np.full(len(letters) - 1, rr_ms) if isinstance(rr_ms, int) else np.array(rr_ms)
        samples = 1000 + np.concatenate([[0], np.cumsum(steps)]).astype(int)
        labels = np.array([CLASSES.index(letter) for letter in letters])
        return BeatSeries(samples, labels, 1000.0, int(samples[-1]) + 1000, **more)

    return made
