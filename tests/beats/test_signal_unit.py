"""Signals whose numbers are no millivolts: the same beats, whatever the unit and the offset."""

import numpy as np
import pytest

from deep_ecg.beats.beat_network import RPeakNetwork
from deep_ecg.beats.signal_unit import SignalUnit
from deep_ecg.beats.signal_watch import UNIT, SignalWatch, unit_of
from deep_ecg.beats.whole_record import causal_r_peaks, r_peaks
from tests.support.records import beat_times_s, spikes_mv

FS_HZ = 250.0
SIGNAL_MV = spikes_mv(beat_times_s(60), 60, FS_HZ)


def counts(per_mv: float, offset: float, low: float = -np.inf, high: float = np.inf) -> np.ndarray:
    return np.clip(np.round(SIGNAL_MV * per_mv + offset), low, high)


@pytest.mark.parametrize(
    "per_mv, offset",
    [(4000, 279_300), (22_000, 0), (1000, 300_000), (1e6, -4e6), (24, 20_000), (22_000, 9_000)],
)
@pytest.mark.parametrize("detect", [causal_r_peaks, r_peaks])
def test_counts_hold_the_beats_of_the_same_signal_in_millivolts(per_mv, offset, detect):
    """In a stream once the gain is found, some seconds after its start."""
    found, expected = detect(counts(per_mv, offset), FS_HZ), detect(SIGNAL_MV, FS_HZ)
    if detect is causal_r_peaks:
        found, expected = found[found > 4 * FS_HZ], expected[expected > 4 * FS_HZ]
    assert len(found) == len(expected)
    assert np.abs(found - expected).max() <= 2, (found, expected)
    assert unit_of(counts(per_mv, offset), FS_HZ) == UNIT


def test_a_converter_at_its_rail_first():
    signal = counts(4000, 279_300)
    signal[:1000] = 8_388_607
    found = causal_r_peaks(signal, FS_HZ)
    expected = causal_r_peaks(SIGNAL_MV, FS_HZ)
    assert np.isin(expected[expected > 3000], found).mean() > 0.95


def test_a_converter_without_signal_first():
    signal = np.concatenate([np.zeros(1000), counts(4000, 279_300)])
    expected = causal_r_peaks(SIGNAL_MV, FS_HZ) + 1000
    assert np.isin(expected[expected > 4000], causal_r_peaks(signal, FS_HZ)).mean() > 0.95


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda mv: mv,
        lambda mv: mv + 300,
        lambda mv: np.where(np.arange(len(mv)) % 700 > 680, 32_767.0, mv),
        lambda mv: np.where(np.arange(len(mv)) % 700 > 690, np.inf, mv),
        lambda mv: np.where((np.arange(len(mv)) > 2000) & (np.arange(len(mv)) < 9000), -32_768.0, mv),
        lambda mv: np.where((np.arange(len(mv)) > 100) & (np.arange(len(mv)) < 150), mv + 9000, mv),
    ],
    ids=["clean", "offset", "sentinels", "infinite", "sentinel", "spike"],
)
def test_millivolts_stay_millivolts(spoilt):
    signal_mv = spoilt(SIGNAL_MV)
    assert unit_of(signal_mv, FS_HZ) is None
    assert np.array_equal(SignalUnit(FS_HZ).missing(signal_mv), ~(np.abs(signal_mv) <= 1e4))


@pytest.mark.parametrize("chunk", [3, 7, 100, 333])
@pytest.mark.parametrize("per_mv, offset", [(1, 0), (4000, 279_300), (22_000, 9_000)])
def test_chunks_change_nothing(chunk, per_mv, offset):
    signal = counts(per_mv, offset)
    signal[5000:5400], signal[9000:9010], signal[10_000:10_600] = np.nan, 1e12, 40_000 + np.arange(600) % 5
    whole, parts = SignalWatch(FS_HZ), SignalWatch(FS_HZ)
    expected = whole(signal)
    found = [parts(signal[start : start + chunk]) for start in range(0, len(signal), chunk)]
    for one, other in zip(expected, map(np.concatenate, zip(*found))):
        assert np.array_equal(one, other)
    detector = RPeakNetwork(FS_HZ)
    beats = [beat for start in range(0, len(signal), chunk) for beat in detector.push(signal[start : start + chunk])]
    assert beats == RPeakNetwork(FS_HZ).push(signal)
    assert whole.unit == parts.unit
