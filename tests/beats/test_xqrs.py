"""R-peaks of whole records: drawn spikes at any rate, and a real record by the measure of EC57."""

import numpy as np
import pytest
from scipy.signal import resample_poly

from deep_ecg.beats.xqrs import detect_r_peaks
from deep_ecg.records.wfdb_files import read_beats, read_record
from tests.support.records import beat_times_s, spikes_mv


@pytest.mark.parametrize("fs_hz", [100, 128, 250, 360, 1000])
@pytest.mark.parametrize("amplitude_mv", [1.0, -1.0, 0.4])
def test_detector_finds_every_spike(fs_hz, amplitude_mv):
    times_s = beat_times_s(60)
    found_s = detect_r_peaks(spikes_mv(times_s, 60, fs_hz, amplitude_mv), fs_hz) / fs_hz
    assert len(found_s) == len(times_s)
    assert np.abs(found_s - times_s).max() < 0.05
    assert np.median(np.abs(found_s - times_s)) <= 1 / fs_hz


@pytest.mark.parametrize("signal_mv", [np.zeros(3600), np.zeros(0), np.ones(100), np.linspace(0, 1, 3600)])
def test_detector_finds_nothing_where_nothing_beats(signal_mv):
    assert len(detect_r_peaks(signal_mv, 360.0)) == 0


@pytest.mark.parametrize("fs_hz", [128, 360])
def test_detector_on_a_real_record(mitdb, fs_hz):
    record, reference = read_record(mitdb / "112", "MLII"), read_beats(mitdb / "112", "atr")
    signal_mv = record.signal_mv if fs_hz == 360 else resample_poly(record.signal_mv, 16, 45, padtype="line")
    found_s, reference_s = detect_r_peaks(signal_mv, fs_hz) / fs_hz, reference.samples / 360
    found_s, reference_s = found_s[found_s > 300], reference_s[reference_s > 300]  # as EC57, from 5 minutes on
    distance_s = np.abs(found_s[:, None] - reference_s)
    # RR intervals of record 112 are longer than 0.3 s: a beat within 150 ms of another is paired with that one alone.
    assert (distance_s.min(axis=0) <= 0.15).mean() >= 0.99
    assert (distance_s.min(axis=1) <= 0.15).mean() >= 0.99
    assert np.median(distance_s.min(axis=0)) <= 0.006
