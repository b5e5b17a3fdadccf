"""R-peaks in a stream against references: annotated records, beats put where they are known to be, faults."""

import pickle

import numpy as np
import pytest
from scipy.signal import resample_poly

from config import DS1, DS2
from deep_ecg.beats.beat_network import RPeakNetwork
from deep_ecg.beats.signal_watch import SignalWatch
from deep_ecg.records.wfdb_files import read_beats, read_record
from deep_ecg.system.errors import DeepECGError
from tests.support.records import motion_mv

FS_HZ = 360.0
ON_TIME_S = 0.15
CLEAN = ("101", "119", "223")  # DS1: slow sinus rhythm; bigeminy; sinus rhythm with many V and S beats
LEAD = "MLII"


def beats_of(signal_mv, fs_hz=FS_HZ, chunk=None, detector=None):
    """Beats (n, 2) of a fresh detector fed `chunk` samples at a time, by default a second."""
    detector, chunk = detector or RPeakNetwork(fs_hz), chunk or round(fs_hz)
    chunks_mv = (signal_mv[start : start + chunk] for start in range(0, len(signal_mv), chunk))
    beats = [beat for chunk_mv in chunks_mv for beat in detector.push(chunk_mv)]
    return np.array(beats, np.int64).reshape(-1, 2)


def excerpt(folder, name, start_s, length_s):
    """Signal (n,) in mV and R-peak samples (beats,) of part of a record."""
    record, peaks = read_record(folder / name, LEAD), read_beats(folder / name, "atr").samples
    start, end = round(start_s * FS_HZ), round((start_s + length_s) * FS_HZ)
    return record.signal_mv[start:end], peaks[(peaks >= start) & (peaks < end)] - start


def ecg(n_beats=40, rr_s=0.8, fs_hz=FS_HZ, waves=((0.0, 0.012, 1.0),), heights=None, noise_mv=0.005):
    """A hand-made ECG (n,) and its R-peaks (beats,): `waves` are Gaussians (s from R, width in s, mV)."""
    peaks_s = 1.0 + rr_s * np.arange(n_beats)
    t_s = np.arange(round((peaks_s[-1] + 1) * fs_hz)) / fs_hz
    signal_mv = noise_mv * np.random.default_rng(0).normal(size=len(t_s))
    for peak_s, height in zip(peaks_s, heights if heights is not None else np.ones(n_beats)):
        for offset_s, width_s, mv in waves:
            signal_mv += height * mv * np.exp(-0.5 * ((t_s - peak_s - offset_s) / width_s) ** 2)
    return signal_mv, np.round(peaks_s * fs_hz).astype(np.int64)


def missed_and_false(reference, found, fs_hz=FS_HZ, window_s=0.15):
    """How many of `reference` have none of `found` near, and the other way round."""
    def alone(these, those):
        if len(those) == 0:
            return len(these)
        return sum(np.abs(those - this).min() > window_s * fs_hz for this in these)

    return alone(reference, found), alone(found, reference)


# What it says --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fs_hz", [100.0, 128.0, 250.0, 360.0, 500.0, 1000.0])
@pytest.mark.parametrize("polarity", [1, -1])
def test_beats_are_found_where_they_were_put_and_in_time(fs_hz, polarity):
    signal_mv, peaks = ecg(fs_hz=fs_hz)
    beats = beats_of(polarity * signal_mv, fs_hz)
    assert len(beats) == len(peaks)
    np.testing.assert_allclose(beats[:, 0], peaks, atol=max(1, 0.004 * fs_hz))
    settled = beats[:, 0] > 4 * fs_hz
    delays_s = (beats[settled, 1] - beats[settled, 0]) / fs_hz
    assert delays_s.min() > 0 and delays_s.max() <= ON_TIME_S


@pytest.mark.parametrize("name", CLEAN)
def test_annotated_beats_are_found_at_their_r_peaks_and_in_time(mitdb, name):
    signal_mv, reference = excerpt(mitdb, name, 300, 600)
    beats = beats_of(signal_mv)
    missed, false = missed_and_false(reference, beats[:, 0])
    assert missed <= 0.004 * len(reference) and false <= 0.004 * len(reference)
    offsets_ms = [1000 / FS_HZ * (found - reference)[np.abs(found - reference).argmin()] for found in beats[:, 0]]
    assert abs(np.median(offsets_ms)) <= 3 and np.mean(np.abs(offsets_ms) < 30) > 0.97
    assert np.mean(np.diff(beats, axis=1) <= ON_TIME_S * FS_HZ) > 0.99


def test_synthetic_patients_lose_no_beat(synthetic_db):
    missed = false = total = 0
    for name in DS1 + DS2:
        signal_mv, reference = excerpt(synthetic_db, name, 0, 60)
        counts = missed_and_false(reference, beats_of(signal_mv)[:, 0])
        missed, false, total = missed + counts[0], false + counts[1], total + len(reference)
    assert total > 3000 and missed <= 0.01 * total and false <= 0.01 * total


def test_beats_rise_and_are_known_after_their_peak(mitdb):
    beats = beats_of(excerpt(mitdb, "203", 0, 300)[0])
    assert len(beats) > 400
    assert (np.diff(beats[:, 0]) > 0).all() and (np.diff(beats[:, 1]) >= 0).all() and (beats[:, 1] > beats[:, 0]).all()


@pytest.mark.parametrize("waves", [
    ((0, 0.012, 1.0), (0.27, 0.04, 0.8)),
    ((0, 0.012, 1.0), (0.27, 0.04, -0.8)),
    ((-0.17, 0.025, 0.12), (0, 0.012, 1.0), (0.27, 0.04, 0.3)),
    ((0, 0.035, 1.5), (0.33, 0.06, -0.6)),
], ids=["tall T", "inverted T", "P", "broad QRS"])  # fmt: skip
def test_one_beat_a_cycle_whatever_p_and_t(waves):
    """But for the first seconds, in which a P wave can pass for a beat."""
    signal_mv, peaks = ecg(waves=waves)
    beats = beats_of(signal_mv)[:, 0]
    assert missed_and_false(peaks, beats[beats > 5 * FS_HZ], window_s=0.05) <= ((peaks <= 5 * FS_HZ).sum(), 0)


@pytest.mark.parametrize("height", [0.4, 2.5])
def test_a_beat_of_another_height_is_found(height):
    heights = np.ones(40)
    heights[25] = height
    signal_mv, peaks = ecg(heights=heights)
    assert missed_and_false(peaks, beats_of(signal_mv)[:, 0], window_s=0.02) == (0, 0)


def test_no_beat_is_told_long_after_its_r_peak(mitdb):
    """What a pause shows to have been a beat is told when it ends: `beat_picking.BACK_STEPS` later at most."""
    beats = beats_of(excerpt(mitdb, "203", 0, 300)[0])
    assert (beats[:, 1] - beats[:, 0]).max() <= (2.5 + 0.2) * FS_HZ


# Causal and streaming ------------------------------------------------------------------------------------------------


def with_faults(signal_mv):
    faulty_mv = signal_mv.copy()
    faulty_mv[4000:4400] = np.nan
    faulty_mv[6000:6005] = np.inf
    faulty_mv[8000:8800] = 5.115
    return faulty_mv


@pytest.mark.parametrize("chunk", [1, 7, 360])
def test_chunks_of_any_size_say_the_same(mitdb, chunk):
    signal_mv = with_faults(excerpt(mitdb, "203", 100, 40)[0])
    whole, parts = RPeakNetwork(FS_HZ), RPeakNetwork(FS_HZ)
    expected = beats_of(signal_mv, chunk=len(signal_mv), detector=whole)
    assert len(expected) > 30
    assert np.array_equal(beats_of(signal_mv, chunk=chunk, detector=parts), expected)
    assert parts.quality == whole.quality


def test_empty_chunks_say_nothing_and_disturb_nothing():
    signal_mv, _ = ecg()
    detector = RPeakNetwork(FS_HZ)
    beats = []
    for start in range(0, len(signal_mv), 100):
        assert detector.push(np.empty(0)) == []
        beats += detector.push(signal_mv[start : start + 100])
    assert np.array_equal(np.array(beats), beats_of(signal_mv))


@pytest.mark.parametrize("name", ["203", "108"])
def test_nothing_after_it_was_known_changes_a_beat(mitdb, name):
    signal_mv = with_faults(excerpt(mitdb, name, 700, 40)[0])
    beats = beats_of(signal_mv)
    for i in range(0, len(beats), 4):
        changed_mv = signal_mv.copy()
        changed_mv[beats[i, 1] + 1 :] = np.random.default_rng(i).normal(size=len(signal_mv) - beats[i, 1] - 1)
        assert np.array_equal(beats_of(changed_mv)[: i + 1], beats[: i + 1])


def test_memory_does_not_grow():
    detector, signal_mv = RPeakNetwork(FS_HZ), np.random.default_rng(0).normal(size=36_000)
    sizes = []
    for _ in range(6):
        detector.push(signal_mv)
        sizes.append(len(pickle.dumps(detector)))
    assert max(sizes) < 400_000 and max(sizes[1:]) < 1.5 * min(sizes[1:])


# Invariances ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [
    lambda signal_mv: 10 * signal_mv,
    lambda signal_mv: 0.25 * signal_mv,
    lambda signal_mv: -signal_mv,
    lambda signal_mv: signal_mv + 300,
], ids=["gain x10", "gain x0.25", "polarity", "offset"])  # fmt: skip
def test_gain_polarity_and_offset_change_next_to_nothing(mitdb, change):
    """Once the running gain has been found, within ten seconds."""
    signal_mv, _ = excerpt(mitdb, "203", 300, 240)
    changed, plain = (beats_of(one_mv)[:, 0] for one_mv in (change(signal_mv), signal_mv))
    changed, plain = changed[changed > 10 * FS_HZ], plain[plain > 10 * FS_HZ]
    assert sum(missed_and_false(plain, changed, window_s=0.03)) <= 0.02 * len(plain)


@pytest.mark.parametrize("fs_hz", [100, 128, 250, 500, 1000])
@pytest.mark.parametrize("name", CLEAN)
def test_the_sampling_rate_changes_little(mitdb, name, fs_hz):
    signal_mv, _ = excerpt(mitdb, name, 300, 240)
    common = np.gcd(fs_hz, 360)
    resampled_mv = resample_poly(signal_mv, fs_hz // common, 360 // common, padtype="line")
    found_s, expected_s = beats_of(resampled_mv, fs_hz)[:, 0] / fs_hz, beats_of(signal_mv)[:, 0] / FS_HZ
    assert missed_and_false(expected_s, found_s, fs_hz=1, window_s=0.05) <= (1, 1)
    offsets_s = [np.abs(found_s - at_s).min() for at_s in expected_s]
    assert np.median(offsets_s) <= 0.5 / fs_hz + 0.5 / FS_HZ


# Faults --------------------------------------------------------------------------------------------------------------

FAULT = slice(round(30 * FS_HZ), round(40 * FS_HZ))  # of a minute and a half
FAULTS = {
    "electrode off": lambda part: np.full_like(part, 0.3),
    "electrode off, one bit of noise": lambda part: 0.005 * np.round(np.random.default_rng(0).normal(size=len(part))),
    "missing": lambda part: np.full_like(part, np.nan),
    "infinite": lambda part: np.full_like(part, -np.inf),
    "saturated": lambda part: np.full_like(part, 5.115),
    "white noise": lambda part: part + np.random.default_rng(0).normal(size=len(part)) * 3,
    "motion": lambda part: part + motion_mv(len(part), FS_HZ),
    "wandering": lambda part: part + np.cumsum(np.random.default_rng(0).normal(size=len(part))) * 0.3,
    "50 Hz": lambda part: part + np.sin(2 * np.pi * 50 * np.arange(len(part)) / FS_HZ),
    "60 Hz": lambda part: part + np.sin(2 * np.pi * 60 * np.arange(len(part)) / FS_HZ),
    "spikes": lambda part: part + 50 * (np.arange(len(part)) % 500 == 250),
    "one enormous sample": lambda part: part + 1e300 * (np.arange(len(part)) == 100),
    "gain x10": lambda part: 10 * part,
    "gain x0.1": lambda part: 0.1 * part,
}
SILENT = ("electrode off", "electrode off, one bit of noise", "missing", "infinite", "saturated")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CLEAN)
def test_it_works_again_three_seconds_after_a_fault(mitdb, name, fault):
    signal_mv, reference = excerpt(mitdb, name, 600, 90)
    signal_mv[FAULT] = FAULTS[fault](signal_mv[FAULT])
    peaks = beats_of(signal_mv)[:, 0]
    again = FAULT.stop + 3 * FS_HZ
    missed, false = missed_and_false(reference[reference >= again], peaks[peaks >= again])
    assert missed + false <= 1
    if fault in SILENT:  # the signal's own edges may look like beats
        assert not ((peaks > FAULT.start + 0.1 * FS_HZ) & (peaks < FAULT.stop - 0.1 * FS_HZ)).any()


def errors_later(signal_mv, reference, changed):
    """Beats missed and false beats from three seconds after sample `changed` on."""
    peaks, again = beats_of(signal_mv)[:, 0], changed + 3 * FS_HZ
    return missed_and_false(reference[reference >= again], peaks[peaks >= again])


@pytest.mark.parametrize("gain", [0.1, 10.0])
@pytest.mark.parametrize("name", CLEAN)
def test_it_works_again_three_seconds_after_the_gain_changed_for_good(mitdb, name, gain):
    signal_mv, reference = excerpt(mitdb, name, 600, 90)
    signal_mv[FAULT.start :] *= gain
    assert sum(errors_later(signal_mv, reference, FAULT.start)) <= 2


@pytest.mark.parametrize("mains_hz", [50, 60])
def test_mains_hum_hides_no_beat(mitdb, mains_hz):
    signal_mv, reference = excerpt(mitdb, "101", 340, 120)
    hum_mv = 0.2 * np.sin(2 * np.pi * mains_hz * np.arange(len(signal_mv)) / FS_HZ)
    assert missed_and_false(reference, beats_of(signal_mv + hum_mv)[:, 0]) == (0, 0)


@pytest.mark.parametrize("gain", [0.25, 4.0])
@pytest.mark.parametrize("name", CLEAN)
def test_it_works_again_three_seconds_after_a_gain_was_there_and_gone(mitdb, name, gain):
    signal_mv, reference = excerpt(mitdb, name, 600, 90)
    signal_mv[FAULT] *= gain
    assert sum(errors_later(signal_mv, reference, FAULT.stop)) <= 1


def test_it_follows_a_gain_that_falls_to_where_some_beats_just_reach_the_threshold(mitdb):
    """Beats of two heights; those found by looking back must not be taken for the few low beats of a high level."""
    signal_mv, reference = excerpt(mitdb, "208", 1471, 70)
    signal_mv[FAULT.start :] *= 0.25
    assert sum(errors_later(signal_mv, reference, FAULT.start)) <= 1


def test_t_waves_of_a_gain_that_was_there_do_not_hide_lower_beats_for_good(mitdb):
    """The level of non-beats comes down with that of beats: every second beat of this trigeminy lay below it."""
    signal_mv, reference = excerpt(mitdb, "208", 470.88, 70)
    signal_mv[FAULT] *= 4
    assert sum(errors_later(signal_mv, reference, FAULT.stop)) <= 1


@pytest.mark.parametrize("gain", [0.05, 0.1])
def test_it_does_not_stay_with_p_waves_when_a_gain_is_back(mitdb, gain):
    """Levels have come down to the P waves, 0.11 s before R: too close for the QRS to be told as a beat of its own."""
    signal_mv, reference = excerpt(mitdb, "106", 346, 90)
    signal_mv[FAULT] *= gain
    assert errors_later(signal_mv, reference, FAULT.stop) == (0, 0)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_no_beat_comes_out_of_the_last_bit_of_a_converter(share):
    """On a flat line from the start, and where an electrode falls off and is put back."""
    bits_mv = 0.005 * (np.random.default_rng(1).random(7200) < share)
    assert len(beats_of(bits_mv)) == 0
    signal_mv, peaks = ecg()
    beats = beats_of(np.concatenate((signal_mv, signal_mv[-1] + bits_mv, signal_mv)))[:, 0]
    end = len(signal_mv) + len(bits_mv)
    assert not ((beats > len(signal_mv) + 0.2 * FS_HZ) & (beats < end)).any()
    again = 5 * FS_HZ
    assert missed_and_false(peaks[peaks >= again], beats[beats >= end + again] - end) == (0, 0)


@pytest.mark.parametrize("value", [0.0, -0.32, np.nan])
def test_no_beat_comes_out_of_a_flat_line(value):
    assert len(beats_of(np.full(36_000, value))) == 0


def test_next_to_no_beat_comes_out_of_motion_alone():
    beats = [beat for beat in told(motion_mv(36_000, FS_HZ)) if beat.readable]
    assert len(beats) < 20  # in 100 s


def test_a_record_that_starts_with_a_lost_signal_is_learned_when_it_comes():
    signal_mv, peaks = ecg()
    lost = np.full(3600, np.nan)
    beats = beats_of(np.concatenate((lost, signal_mv + 2)))
    assert missed_and_false(peaks + len(lost), beats[:, 0]) == (0, 0)


# Quality -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault, quality", [
    ("electrode off", "flat"), ("missing", "missing"), ("infinite", "missing"), ("saturated", "saturated"),
    ("motion", "unreadable"),
])  # fmt: skip
def test_quality_names_the_fault_and_is_ok_again(mitdb, fault, quality):
    signal_mv, _ = excerpt(mitdb, "101", 600, 90)
    signal_mv[FAULT] = FAULTS[fault](signal_mv[FAULT])
    detector = RPeakNetwork(FS_HZ)
    beats_of(signal_mv[: FAULT.start], detector=detector)
    assert detector.quality == "ok"
    beats_of(signal_mv[FAULT], detector=detector)
    assert detector.quality == quality != "ok"
    beats_of(signal_mv[FAULT.stop :], detector=detector)
    assert detector.quality == "ok"


def test_beats_of_unreadable_signal_say_so_and_the_one_after_them_has_a_gap_before_it(mitdb):
    signal_mv, _ = excerpt(mitdb, "119", 600, 90)
    signal_mv[FAULT] += motion_mv(FAULT.stop - FAULT.start, FS_HZ)
    beats = told(signal_mv)
    inside = [beat for beat in beats if FAULT.start + FS_HZ < beat.sample < FAULT.stop]
    assert not [beat for beat in inside if beat.readable]
    before = [beat for beat in beats if 5 * FS_HZ < beat.sample < FAULT.start]
    after = [beat for beat in beats if beat.sample > FAULT.stop + 5 * FS_HZ]
    assert len(before) > 20 and not [beat for beat in before if not beat.readable or beat.after_gap]
    assert len(after) > 40 and not [beat for beat in after if not beat.readable or beat.after_gap]
    readable = [beat for beat in beats if beat.readable and beat.sample > FAULT.start + FS_HZ]
    assert readable[0].after_gap


@pytest.mark.parametrize("chunk", [3, 7, 1000])
def test_quality_does_not_depend_on_the_chunks(mitdb, chunk):
    signal_mv, _ = excerpt(mitdb, "119", 600, 60)
    signal_mv[10_000:14_000] += motion_mv(4000, FS_HZ)
    whole = told(signal_mv)
    assert any(not beat.readable for beat in whole) and told(signal_mv, chunk) == whole


def told(signal_mv, chunk=None):
    """The beats of a stream with their quality, fed `chunk` samples at a time, by default all at once."""
    detector, watch, chunk = RPeakNetwork(FS_HZ), SignalWatch(FS_HZ), chunk or len(signal_mv)
    chunks_mv = (signal_mv[start : start + chunk] for start in range(0, len(signal_mv), chunk))
    return [beat for chunk_mv in chunks_mv for beat in detector.push_watched(*watch(chunk_mv))]


# Wrong input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fs_hz", [0, 99.9, 1000.1, np.nan, -360])
def test_a_rate_out_of_range_is_refused(fs_hz):
    with pytest.raises(DeepECGError, match="100 to 1000 Hz"):
        RPeakNetwork(fs_hz)


@pytest.mark.parametrize("chunk", [np.zeros((2, 3)), 1.0, ["a"]])
def test_a_chunk_that_is_no_row_of_numbers_is_refused(chunk):
    with pytest.raises(DeepECGError, match="chunk"):
        RPeakNetwork(FS_HZ).push(chunk)
