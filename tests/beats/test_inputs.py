"""The network's inputs of a beat: windows and features by hand, what must not change them, and causality."""

import numpy as np
import pytest

import dsp_filters
from config import MODES, Config
from deep_ecg.beats.arrays import NetworkInputs
from deep_ecg.beats.input_settings import InputSettings
from deep_ecg.beats.inputs import CHANNELS, FEATURES, BeatRecipe, input_blocks, network_inputs
from deep_ecg.beats.rhythm import rr_intervals
from deep_ecg.beats.shape import P_WAVE, SHAPE, cut_windows
from deep_ecg.beats.signal_watch import SignalWatch
from deep_ecg.records.wfdb_files import Annotation, Record

WINDOWS = {"diagnostic": {}, "causal": {}, "causal, 60 ms": {"look_ahead_ms": 60.0}}
TOLERANCE = 1e-4  # of inputs of blocks that are resampled both ways each by itself, in standard deviations of a beat
T = np.arange(-140, 140)  # samples around R
NARROW, WIDE = np.exp(-0.5 * (T / 4) ** 2), -np.exp(-0.5 * (T / 15) ** 2)


def settings(window):
    return InputSettings.of(Config(mode=window.split(",")[0], **WINDOWS[window]))


def inputs_at(signal_mv, peaks, settings):
    """Inputs of the beats at `peaks` of a cleaned signal at 360 Hz, of which none is lost."""
    after = settings.look_ahead_samples
    beats_mv = cut_windows(signal_mv, peaks, settings.window_samples - after, after)
    return BeatRecipe(settings)(beats_mv, rr_intervals(peaks, 360.0))


# Windows and features ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_shapes_and_types_of_the_inputs(record, annotation, mode):
    inputs = network_inputs(record, annotation, settings(mode))
    assert inputs.windows.shape == (len(annotation.samples), CHANNELS, 280) and inputs.windows.dtype == np.float32
    assert inputs.features.shape == (len(annotation.samples), len(FEATURES[mode]))
    assert inputs.features.dtype == np.float32
    assert np.isfinite(inputs.windows).all() and np.isfinite(inputs.features).all()


def test_r_lies_where_the_mode_puts_it():
    signal = np.zeros(4000)
    peaks = np.array([1000, 2000, 3000])
    signal[peaks] = 1.0
    for mode, after in (("diagnostic", 140), ("causal", 54)):
        assert list(inputs_at(signal, peaks, settings(mode)).windows[:, 0].argmax(axis=1)) == [280 - after] * 3


def test_a_beat_of_another_shape_stands_out_and_leaves_the_template_alone():
    beats = [NARROW] * 20 + [WIDE] + [NARROW] * 5
    peaks = 140 + 280 * np.arange(len(beats))
    made = InputSettings.of(Config(mode="causal", look_ahead_ms=388.8))  # 140 samples
    features = inputs_at(np.concatenate(beats), peaks, made).features
    residual = features[:, FEATURES["causal"].index("qrs_residual")]
    np.testing.assert_allclose(residual[:20], 0, atol=1e-6)
    assert residual[20] > 0.5
    np.testing.assert_allclose(residual[21:], 0, atol=1e-6)


def test_both_channels_by_hand():
    """A beat that repeats the first one three times as high, a flat one, and the first one again."""
    beats = [NARROW, 3 * NARROW, 0 * NARROW, NARROW]
    peaks = 140 + 280 * np.arange(4)
    windows = inputs_at(np.concatenate(beats), peaks, settings("diagnostic")).windows
    scored = (NARROW - NARROW.mean()) / NARROW.std()
    template = 2 * NARROW  # the mean of the first two, which are of one shape; their ranks fade by 0.2 % a beat
    for beat, expected in ((0, scored), (1, scored), (2, 0 * T), (3, scored)):
        np.testing.assert_allclose(windows[beat, 0], expected, atol=1e-5)
    for beat, difference in ((0, 0 * T), (1, 2 * NARROW / (3 * NARROW.std())), (2, 0 * T)):
        np.testing.assert_allclose(windows[beat, 1], difference, atol=1e-5)
    np.testing.assert_allclose(windows[3, 1], (NARROW - template) / NARROW.std(), rtol=3e-3, atol=1e-5)


def test_the_difference_is_limited():
    """A beat of a thousandth of the template's height differs by thousands of its own standard deviations."""
    peaks = 140 + 280 * np.arange(2)
    windows = inputs_at(np.concatenate([NARROW, NARROW / 1000]), peaks, settings("diagnostic")).windows
    assert windows[1, 1].min() == -20.0


def tall_and_low(moved_ms=0):
    """Twenty equal QRS complexes, then a lower, wider one whose R-peak is marked `moved_ms` late.

    Returns the signal, its R-peaks and the height of the last QRS over that of the others.
    """
    waves = [(-9, 3, -0.2), (0, 4, 1.0), (9, 4, -0.4)]  # centre and width in samples, mV
    usual, odd = (sum(h * np.exp(-0.5 * ((T - c) / (f * w)) ** 2) for c, w, h in waves) for f in (1.0, 1.2))
    peaks = 140 + 280 * np.arange(21)
    peaks[-1] += round(moved_ms * 0.36)
    return np.concatenate([usual] * 20 + [0.8 * odd, np.zeros(300)]), peaks, 0.8 * np.ptp(odd) / np.ptp(usual)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("moved_ms", [-60, -40, -17, 17, 40, 60])
def test_the_shape_of_a_beat_does_not_depend_on_which_deflection_is_called_r(mode, moved_ms):
    rows = []
    for signal_mv, peaks, height in (tall_and_low(), tall_and_low(moved_ms)):
        features = inputs_at(signal_mv, peaks, settings(mode)).features
        rows.append(features[-1, -len(SHAPE + P_WAVE) : -len(P_WAVE)])
    np.testing.assert_allclose(rows[1], rows[0], atol=1e-5)
    assert rows[0][SHAPE.index("log_amplitude_ratio")] == pytest.approx(np.log(height), rel=0.01)  # it is lower


@pytest.mark.parametrize("mode", MODES)
def test_p_waves_are_looked_for_before_the_qrs(mode):
    """R-peaks every 280 samples, a P wave 55 samples before each but the last but one."""
    waves = [(0, 4, 1.0), (-55, 7, 0.15)]
    usual, bare = (sum(h * np.exp(-0.5 * ((T - c) / w) ** 2) for c, w, h in waves[:count]) for count in (2, 1))
    other_mv = 1e-3 * np.sin(2 * np.pi * (T + 55) / 60)  # odd about the place of the P wave, which is even
    signal_mv = np.concatenate([usual] * 20 + [bare + other_mv, usual, np.zeros(300)])
    peaks = 140 + 280 * np.arange(22)
    own, short, _ = inputs_at(signal_mv, peaks, settings(mode)).features[:, -len(P_WAVE) :].T
    assert own[:20].min() > 0.99 and abs(own[20]) < 0.3 and own[21] > 0.99
    assert short[20] > 0.99 and short[21] == pytest.approx(short[20] + (own[20] - short[20]) / 8, abs=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mode, look_ahead_ms", [("diagnostic", 150.0), ("causal", 0.0), ("causal", 388.0)])
def test_inputs_are_numbers_at_every_look_ahead_and_for_flat_beats(record, annotation, mode, look_ahead_ms):
    signal_mv = record.signal_mv.copy()
    signal_mv[3600:7200] = signal_mv[3600]
    flat = Record(record.name, record.lead, record.fs_hz, signal_mv)
    inputs = network_inputs(flat, annotation, InputSettings.of(Config(mode=mode, look_ahead_ms=look_ahead_ms)))
    assert all(np.isfinite(values).all() for values in (inputs.windows, inputs.features, inputs.groups))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("gain, offset_mv", [(0.3, 0.0), (5.0, 0.0), (1.0, 4.0), (1.0, -0.7)])
def test_gain_and_offset_of_the_recorder_change_nothing(record, annotation, window, gain, offset_mv):
    made = settings(window)
    changed = Record(record.name, record.lead, record.fs_hz, record.signal_mv * gain + offset_mv)
    inputs, other = (network_inputs(one, annotation, made) for one in (record, changed))
    np.testing.assert_allclose(other.windows, inputs.windows, atol=1e-4)
    for name, values, others in zip(FEATURES[made.mode], inputs.features.T, other.features.T):
        np.testing.assert_allclose(others, values, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fs_hz", [128.0, 250.0, 360.0, 1000.0])
def test_r_lies_in_its_place_at_any_sampling_rate(mode, fs_hz):
    beats = np.round(np.arange(1.0, 19.0, 0.8) * fs_hz).astype(int)
    t_s = np.arange(int(20 * fs_hz)) / fs_hz
    signal_mv = np.exp(-0.5 * ((t_s[:, None] - beats / fs_hz) / 0.012) ** 2).sum(axis=1)
    annotation = Annotation(beats, np.full(len(beats), "N"), np.zeros(len(beats), bool))
    inputs = network_inputs(Record("x", "MLII", fs_hz, signal_mv), annotation, settings(mode))
    r_at = 280 - settings(mode).look_ahead_samples
    lag = 2 if mode == "causal" else 1  # one pass lags a little
    assert np.abs(inputs.windows[:, 0].argmax(axis=1) - r_at).max() <= lag
    np.testing.assert_allclose(inputs.features[2:, FEATURES[mode].index("pre_previous_ratio")], 1, atol=0.02)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fs_hz", [359.9, 360.05, 250.02, 999.7])
def test_r_lies_in_its_place_to_the_end_of_an_hour_at_a_rate_beside_a_simple_one(mode, fs_hz):
    """Whatever ratio of whole numbers the signal is resampled by; 359.9 Hz for 360 would be a second apart by then."""
    beats = np.round(np.arange(1.0, 3600.0, 7.9) * fs_hz).astype(int)
    signal_mv = np.zeros(round(3601 * fs_hz))
    for shift in range(-15, 16):
        signal_mv[beats + shift] = np.exp(-0.5 * (shift / (0.012 * fs_hz)) ** 2)
    annotation = Annotation(beats, np.full(len(beats), "N"), np.zeros(len(beats), bool))
    inputs = network_inputs(Record("x", "MLII", fs_hz, signal_mv), annotation, settings(mode))
    r_at = 280 - settings(mode).look_ahead_samples
    assert np.abs(inputs.windows[:, 0].argmax(axis=1) - r_at).max() <= (2 if mode == "causal" else 1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fs_hz", [128.0, 250.0, 1000.0])
def test_a_beat_on_the_last_sample_survives_resampling(mode, fs_hz):
    signal_mv = np.sin(np.arange(int(10 * fs_hz)) / 20)
    annotation = Annotation(np.array([100, len(signal_mv) - 1]), np.array(["N", "N"]), np.zeros(2, bool))
    inputs = network_inputs(Record("x", "MLII", fs_hz, signal_mv), annotation, settings(mode))
    assert inputs.windows.shape == (2, CHANNELS, 280)


# Causality -----------------------------------------------------------------------------------------------------------


def assert_same_beats(inputs: NetworkInputs, others: NetworkInputs, count: int):
    """The first `count` beats have the same inputs to the bit."""
    assert np.array_equal(inputs.windows[:count], others.windows[:count])
    assert np.array_equal(inputs.features[:count], others.features[:count])
    assert np.array_equal(inputs.groups[:count], others.groups[:count])
    assert np.array_equal(inputs.rr_s[:count], others.rr_s[:count], equal_nan=True)


def with_another_future(record, annotation, beat, from_sample, rng):
    """The record and its beats up to `beat`, with noise from `from_sample` on and other beats later."""
    signal_mv = record.signal_mv.copy()
    signal_mv[from_sample:] = rng.normal(0, 3, len(signal_mv) - from_sample)
    later = np.sort(rng.choice(np.arange(annotation.samples[beat] + 60, len(signal_mv)), 9, replace=False))
    samples = np.concatenate([annotation.samples[: beat + 1], later])
    after_gap = np.concatenate([annotation.after_gap[: beat + 1], rng.random(9) < 0.5])
    symbols = np.concatenate([annotation.symbols[: beat + 1], ["V"] * 9])
    return Record(record.name, record.lead, record.fs_hz, signal_mv), Annotation(samples, symbols, after_gap)


@pytest.mark.parametrize("window", ["causal", "causal, 60 ms"])
def test_causal_inputs_are_the_same_bits_whatever_comes_later(record, annotation, window):
    made, rng = settings(window), np.random.default_rng(0)
    inputs = network_inputs(record, annotation, made)
    for beat in (0, 1, 33, 60, len(annotation.samples) - 2):
        from_sample = annotation.samples[beat] + made.look_ahead_samples
        other = network_inputs(*with_another_future(record, annotation, beat, from_sample, rng), made)
        assert_same_beats(other, inputs, beat + 1)


def test_causal_inputs_do_use_the_look_ahead(record, annotation):
    """The probe above is not empty: one sample earlier, the window changes."""
    made = settings("causal")
    from_sample = annotation.samples[33] + made.look_ahead_samples - 1
    others = with_another_future(record, annotation, 33, from_sample, np.random.default_rng(0))
    windows = network_inputs(record, annotation, made).windows
    assert not np.array_equal(network_inputs(*others, made).windows[33], windows[33])


def test_resampled_causal_inputs_look_ahead_by_less_than_one_more_sample(record, annotation):
    slow = Record(record.name, record.lead, 250.0, record.signal_mv)
    made, rng = settings("causal"), np.random.default_rng(0)
    inputs = network_inputs(slow, annotation, made)
    for beat in (0, 33, 60):
        last_s = (round(annotation.samples[beat] * 360 / 250) + made.look_ahead_samples - 1) / 360
        others = with_another_future(slow, annotation, beat, int(np.floor(last_s * 250)) + 2, rng)
        assert_same_beats(network_inputs(*others, made), inputs, beat + 1)


# Parts and wholes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("count", [1, 7, 1000])
def test_beats_a_few_at_a_time_have_the_inputs_of_the_whole(record, annotation, window, count):
    """The interval after each part is known, as a diagnostic stream knows it."""
    made = settings(window)
    after = made.look_ahead_samples
    beats_mv = cut_windows(record.signal_mv, annotation.samples, made.window_samples - after, after)
    rr_s = rr_intervals(annotation.samples, record.fs_hz)
    whole, recipe = BeatRecipe(made)(beats_mv, rr_s), BeatRecipe(made)
    parts = []
    for start in range(0, len(rr_s), count):
        next_rr_s = rr_s[start + count] if start + count < len(rr_s) else np.nan
        parts.append(recipe(beats_mv[start : start + count], rr_s[start : start + count], next_rr_s))
    for name, values in vars(whole).items():
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(joined, values, equal_nan=name == "rr_s"), name


@pytest.mark.parametrize("mode", MODES)
def test_beats_that_are_left_out_change_nothing_of_those_kept(record, annotation, mode):
    kept = np.random.default_rng(0).random(len(annotation.samples)) < 0.3
    some, every = (network_inputs(record, annotation, settings(mode), which) for which in (kept, slice(None)))
    assert 0 < len(some) == kept.sum() < len(every)
    for name, values in vars(every).items():
        assert np.array_equal(getattr(some, name), values[kept]), name


def test_the_settings_of_a_run_and_those_of_the_inputs_say_the_same():
    for mode in MODES:
        config = Config(mode=mode, fs_hz=250.0, look_ahead_ms=60.0)
        made = InputSettings.of(config)
        assert made.look_ahead_samples == config.look_ahead_samples == (15 if mode == "causal" else 140)
        assert made.causal == (mode == "causal")


# Block by block ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fs_hz", [360.0, 250.0])
def test_blocks_make_the_inputs_of_the_whole(record, annotation, mode, fs_hz, monkeypatch):
    long_mv = np.concatenate([record.signal_mv + 0.3 * number for number in range(3)])  # the baseline jumps, too
    samples = np.concatenate([annotation.samples + number * len(record.signal_mv) for number in range(3)])
    long = Record("long", "MLII", fs_hz, long_mv)
    beats = Annotation(samples, np.full(len(samples), "N"), np.zeros(len(samples), bool))
    whole = network_inputs(long, beats, settings(mode))
    monkeypatch.setattr(dsp_filters, "BLOCK_SAMPLES", 1000)
    monkeypatch.setattr("deep_ecg.beats.inputs.PIECE_SAMPLES", 777)
    monkeypatch.setattr("deep_ecg.beats.inputs.BLOCK_BEATS", 13)
    watch = SignalWatch(fs_hz)
    watch(long_mv)
    blocks = list(input_blocks(long, beats, settings(mode), watch))
    assert len(blocks) > 3
    for name in vars(whole):
        parts = np.concatenate([getattr(block, name) for block in blocks])
        if mode == "causal" or name in ("groups", "rr_s"):
            np.testing.assert_array_equal(parts, getattr(whole, name))
        else:
            np.testing.assert_allclose(parts, getattr(whole, name), atol=TOLERANCE)
