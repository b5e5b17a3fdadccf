"""The envelope of a record, and stretches of it as they are drawn."""

import numpy as np
import pytest

from deep_ecg.report.beat_series import BeatSeries
from deep_ecg.report.recording import BLOCK_SAMPLES, MISSING, Recording, envelope_of

FS_HZ = 250.0
TRUST = {"grade": "high", "reasons": []}


def recording(signal_mv: np.ndarray, fs_hz: float = FS_HZ) -> Recording:
    empty = np.array([], int)
    return Recording("r", "II", BeatSeries(empty, empty, fs_hz, len(signal_mv)), signal_mv, TRUST)


def test_envelope_holds_each_spike():
    """Bins of 20 ms are 5 samples; a spike of 1 mV at sample 1003 is in bin 200, one of -0.5 mV in bin 300.

    A spike's own share of the running mean of 250 samples is 0.004 mV. The largest code stands for 1.3 times the
    99.5th percentile, here noise of next to nothing: so the test looks at a signal that swings.
    """
    t_s = np.arange(2500) / FS_HZ
    signal_mv = 0.2 * np.sin(2 * np.pi * 10 * t_s)  # a whole number of periods in a second: its running mean is 0
    signal_mv[1003] = 0.25
    envelope = envelope_of(signal_mv, FS_HZ)
    assert envelope.bin_s == 0.02 and len(envelope.low) == 500
    assert envelope.high[200] * envelope.step_mv == pytest.approx(0.25, abs=2 * envelope.step_mv)
    low_mv, high_mv = envelope.low * envelope.step_mv, envelope.high * envelope.step_mv
    expected = signal_mv.reshape(-1, 5)
    inside = slice(30, -30)  # at the ends the mean is of half a second
    np.testing.assert_allclose(low_mv[inside], expected.min(axis=1)[inside], atol=0.004)
    np.testing.assert_allclose(high_mv[inside], expected.max(axis=1)[inside], atol=0.004)


def test_missing_samples_have_a_code_of_their_own():
    signal_mv = np.sin(np.arange(2500) / 3.0)
    signal_mv[1000:1500] = np.nan
    envelope = envelope_of(signal_mv, FS_HZ)
    assert (envelope.low[200:300] == MISSING).all() and (envelope.high[200:300] == MISSING).all()
    assert (envelope.low[:200] != MISSING).all() and (envelope.low[300:] != MISSING).all()
    assert (envelope_of(np.full(1000, np.nan), FS_HZ).low == MISSING).all()


def test_blocks_do_not_show(monkeypatch):
    signal_mv = np.cumsum(np.random.default_rng(1).normal(0, 0.1, 60_001))
    whole = envelope_of(signal_mv, FS_HZ)
    monkeypatch.setattr("deep_ecg.report.recording.BLOCK_SAMPLES", 7777)
    parts = envelope_of(signal_mv, FS_HZ)
    assert BLOCK_SAMPLES > 60_001 and np.array_equal(whole.low, parts.low) and np.array_equal(whole.high, parts.high)


def test_a_day_has_a_bounded_envelope():
    envelope = envelope_of(np.zeros(86_400 * 50), 50.0)
    assert len(envelope.low) <= 350_000


@pytest.mark.parametrize("fs_hz, kept_hz", [(50.0, 50.0), (360.0, 360.0), (1000.0, 250.0)])
def test_a_drawn_stretch_is_filtered_and_thinned(fs_hz, kept_hz):
    """A sine of 5 Hz passes as it is, drift does not; missing samples stay missing."""
    t_s = np.arange(int(20 * fs_hz)) / fs_hz
    signal_mv = np.sin(2 * np.pi * 5 * t_s) + 0.5 * t_s
    signal_mv[int(12 * fs_hz) : int(12.5 * fs_hz)] = np.nan
    times_s, drawn_mv = recording(signal_mv, fs_hz).drawn(5.0, 10.0)
    assert len(times_s) == round(10 * kept_hz) and times_s[0] == 5.0
    missing = (times_s >= 12) & (times_s < 12.5)
    assert np.isnan(drawn_mv[missing]).all() and np.isfinite(drawn_mv[~missing]).all()
    calm = times_s < 9
    np.testing.assert_allclose(drawn_mv[calm], np.sin(2 * np.pi * 5 * times_s[calm]), atol=0.12)
