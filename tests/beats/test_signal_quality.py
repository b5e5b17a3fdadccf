"""Signal quality settles: it follows what is said of the signal for half a second, whatever the chunks."""

import numpy as np
import pytest

from deep_ecg.beats.signal_quality import NOISY, OK, QUALITIES, SETTLE_STEPS, UNREADABLE, SettledQuality

LIMITS = (0, 100)


def settled(logits: list[float], chunk: int = 10_000) -> list[int]:
    quality, row = SettledQuality(LIMITS), np.array(logits, float)
    return [int(one) for start in range(0, len(row), chunk) for one in quality(row[start : start + chunk])]


def test_it_changes_once_half_a_second_has_said_so():
    assert SETTLE_STEPS == 25  # at 50 Hz
    found = settled([-1] * 30 + [200] * 40 + [-1] * 40)
    assert found == [OK] * 54 + [UNREADABLE] * 40 + [OK] * 16


def test_noise_alone_is_noisy():
    assert settled([50] * 30) == [OK] * 24 + [NOISY] * 6


def test_short_words_change_nothing():
    assert set(settled(([200] * 10 + [-1] * 10) * 20)) == {OK}
    assert set(settled([200] * 25 + ([-1] * 10 + [200] * 15) * 20)[24:]) == {UNREADABLE}


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_chunks_change_nothing(chunk):
    steps = np.cumsum(np.random.default_rng(0).normal(0, 30, 3000))
    logits = (100 * np.sin(steps / 100) + 60).tolist()
    assert settled(logits, chunk) == settled(logits)
    assert set(settled(logits)) == {OK, NOISY, UNREADABLE}


def test_the_latest_has_a_name():
    quality = SettledQuality(LIMITS)
    assert quality.quality == QUALITIES[OK]
    quality(np.full(30, 200.0))
    assert quality.quality == "unreadable"
