"""Rhythm and shape features: worked by hand, and by what must not change them."""

import numpy as np
import pytest

from config import MODES, Config
from deep_ecg.beats import rhythm, templates
from deep_ecg.beats.inputs import CHANNELS, FEATURES, beat_inputs, network_inputs
from deep_ecg.beats.rhythm import RHYTHM, rhythm_features, rr_intervals
from deep_ecg.beats.shape import P_WAVE, SHAPE, PWaveMemory, cut_windows, p_wave_span
from deep_ecg.beats.templates import RunningTemplate, running_templates
from deep_ecg.records.wfdb_files import Annotation, Record, read_beats, read_record

NAN = np.nan
WINDOWS = {"diagnostic": {}, "causal": {}, "causal, 60 ms": {"look_ahead_ms": 60.0}}
T = np.arange(-140, 140)  # samples around R
NARROW, WIDE = np.exp(-0.5 * (T / 4) ** 2), -np.exp(-0.5 * (T / 15) ** 2)


def column(rr_s, name, mode="diagnostic"):
    """One rhythm feature of every beat."""
    return rhythm_features(np.array(rr_s, float), mode)[:, RHYTHM[mode].index(name)]


def neutral(name):
    """What a rhythm feature says where nothing is known, or nothing happens."""
    return 1.0 if "ratio" in name else 0.5 if "rank" in name else 0.0


def settings(window):
    return Config(mode=window.split(",")[0], **WINDOWS[window])


@pytest.fixture(scope="module")
def record(synthetic_db):
    """Normal, ventricular and fusion beats."""
    return read_record(synthetic_db / "208", "MLII")


@pytest.fixture(scope="module")
def annotation(synthetic_db):
    return read_beats(synthetic_db / "208", "atr")


# RR intervals --------------------------------------------------------------------------------------------------------


def test_rr_intervals_by_hand():
    np.testing.assert_array_equal(rr_intervals(np.array([36, 396, 576, 936]), 360.0), [NAN, 1.0, 0.5, 1.0])
    np.testing.assert_array_equal(rr_intervals(np.array([25, 275]), 250.0), [NAN, 1.0])


def test_a_pause_counts_as_three_seconds():
    """Of 3.0, 3.003 and 10 s."""
    peaks = np.array([0, 1080, 2161, 5761, 6121])
    np.testing.assert_array_equal(rr_intervals(peaks, 360.0), [NAN, 3.0, 3.0, 3.0, 1.0])


def test_there_is_no_interval_across_flutter():
    after_gap = np.array([False, True, False, False])
    np.testing.assert_array_equal(rr_intervals(np.array([0, 360, 720, 1080]), 360.0, after_gap), [NAN, NAN, 1.0, 1.0])


# Rhythm features -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_in_a_constant_rhythm_every_ratio_is_one_and_nothing_varies(mode):
    rows = rhythm_features(np.array([NAN] + [0.8] * 60), mode)
    assert rows.shape == (61, len(RHYTHM[mode])) and rows.dtype == np.float32
    for name, values in zip(RHYTHM[mode], rows.T):
        np.testing.assert_allclose(values, neutral(name), atol=1e-6, err_msg=name)


def test_a_premature_beat_and_its_pause_by_hand():
    rr_s = [NAN, 0.8, 0.8, 0.8, 0.56, 1.04, 0.8]
    expected = {  # of the premature beat, 4, and of the one after the pause, 5
        "pre_previous_ratio": (0.56 / 0.8, 1.04 / 0.56),
        "previous_second_ratio": (1.0, 0.56 / 0.8),
        "pre_post_ratio": (0.56 / 1.04, 1.04 / 0.8),
    }
    for memory in (100, 400):
        expected |= {
            f"pre_ratio_{memory}": (0.56 / 0.8, 1.04 / 0.74),  # (0.8 + 0.8 + 0.8 + 0.56) / 4 = 0.74
            f"previous_ratio_{memory}": (1.0, 0.56 / 0.74),
            f"second_previous_ratio_{memory}": (1.0, 0.8 / 0.74),
            f"post_ratio_{memory}": (1.04 / 0.8, 0.8 / 0.74),
        }
    for name, values in expected.items():
        np.testing.assert_allclose(column(rr_s, name)[4:6], values, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("memory", [8, 32, 100, 400])
def test_step_by_hand(memory):
    """Steps of 0.2, 0.2, 0.2 before the last beat, whose own interval does not count; the mean is 0.9."""
    rr_s = [NAN, 0.8, 1.0, 0.8, 1.0, 0.5]
    assert column(rr_s, f"rr_step_{memory}")[-1] == pytest.approx(0.2 / 0.9, rel=1e-6)


@pytest.mark.parametrize("memory", [8, 32])
def test_variation_by_hand(memory):
    """0.6, 0.8, 1.0, 0.8: mean 0.8, variance (0.04 + 0 + 0.04 + 0) / 4 = 0.02; the beat's own interval is left out."""
    variation = column([NAN, 0.6, 0.8, 1.0, 0.8, 2.5], f"rr_variation_{memory}")
    assert variation[-1] == pytest.approx(np.sqrt(0.02) / 0.8, rel=1e-5)
    assert variation[:3] == pytest.approx([0, 0, 0], abs=1e-6)  # up to one interval is known before these


@pytest.mark.parametrize("name", ["rr_variation", "rr_step"])
@pytest.mark.parametrize("memory", [8, 32])
def test_irregularity_reaches_as_far_back_as_its_name_says(name, memory):
    """An irregular stretch is forgotten `memory` + 1 beats after its last interval, and not before."""
    irregular = np.random.default_rng(0).uniform(0.5, 1.2, 50)
    values = column(np.concatenate([[NAN], irregular, [0.8] * (memory + 1)]), f"{name}_{memory}")
    assert values[50] > 0.05
    assert values[-1] == pytest.approx(0, abs=1e-6)
    if name == "rr_variation":  # a median step is 0 before the last odd interval has left
        assert values[-2] > 0.001


def test_irregularity_by_standard_deviation_and_median():
    """Against NumPy's own, over the last 8 and 32 intervals before the beat's own, a gap among the 32."""
    rr_s = np.random.default_rng(1).uniform(0.5, 1.2, 60)
    rr_s[40] = NAN
    for memory in (8, 32):
        history = rr_s[-1 - memory : -1]
        mean, variation = np.nanmean(history), np.nanstd(history)
        assert column(rr_s, f"rr_variation_{memory}")[-1] == pytest.approx(variation / mean, rel=1e-5)
        step = np.nanmedian(np.abs(np.diff(history)))
        assert column(rr_s, f"rr_step_{memory}")[-1] == pytest.approx(step / mean, rel=1e-5)


@pytest.mark.parametrize("memory", [8, 32])
def test_a_beat_after_dropped_ones_is_on_the_beat_of_the_intervals_before_and_a_premature_one_is_not(memory):
    """Intervals of 1.6, 0.8 and 2.4 s are 2, 1 and 3 of 0.8 s; over 0.64 s they are 2.5, 1.25 and 3.75."""
    name, dropped = f"rr_off_multiple_{memory}", [NAN, 1.6, 0.8, 2.4]
    assert column([*dropped, 0.8], name)[-1] == pytest.approx(0, abs=1e-6)
    assert column([*dropped, 0.64], name)[-1] == pytest.approx((0.5 + 0.25 + 0.25) / 3)
    assert column([NAN, 0.2, 0.8], name)[-1] == pytest.approx(0.5)  # a quarter of one: no further off than half
    assert column([NAN, 0.8, NAN], name)[-1] == 0


@pytest.mark.parametrize("memory", [8, 32])
def test_the_distance_from_multiples_is_of_so_many_intervals(memory):
    values = column([NAN, 1.2, *[0.8] * (memory + 1)], f"rr_off_multiple_{memory}")
    assert values[memory + 1] == pytest.approx(0.5 / memory)  # 1.2 is 1.5 of 0.8
    assert values[memory + 2] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "own_s, rank", [(0.5, 0.0), (0.7, 0.125), (0.75, 0.25), (0.8, 0.5), (1.0, 0.875), (1.1, 1.0), (NAN, 0.5)]
)
def test_rank_by_hand(own_s, rank):
    """Among 0.7, 0.8, 0.8, 1.0, of which an equal one counts half, and a gap, which does not count."""
    assert column([NAN, 0.8, 1.0, NAN, 0.7, 0.8, own_s], "pre_rank")[-1] == pytest.approx(rank)


def test_rank_reaches_32_beats_back():
    rr_s = np.array([NAN] + [0.5] * 10 + [1.0] * 32 + [0.8] * 2)
    rank = column(rr_s, "pre_rank")
    assert rank[-2] == 0  # every one of the last 32 is longer
    assert rank[-1] == pytest.approx(0.5 / 32)  # one is equal
    assert column(rr_s[:-2], "pre_rank")[-1] == pytest.approx((1 + 31 / 2) / 32)  # a beat of 1.0: one of 0.5 is left


@pytest.mark.parametrize("memory", [100, 400])
def test_running_means_reach_as_far_back_as_their_name_says(memory):
    ratio = column([NAN] + [1.0] * 500 + [0.5] * (memory + 1), f"pre_ratio_{memory}")
    assert ratio[-1] == pytest.approx(1.0)  # nothing but intervals of 0.5 s in reach
    assert ratio[-2] == pytest.approx(0.5 / ((memory - 1) / memory * 0.5 + 1 / memory), rel=1e-6)  # one of 1.0 s left


@pytest.mark.parametrize("mode", MODES)
def test_ratios_do_not_depend_on_the_heart_rate(mode):
    rr_s = np.concatenate([[NAN], np.random.default_rng(0).uniform(0.4, 0.9, 60)])
    ratios = ["ratio" in name for name in RHYTHM[mode]]
    slow, fast = (rhythm_features(rr_s * factor, mode)[:, ratios] for factor in (2.0, 1.0))
    np.testing.assert_allclose(slow, fast, rtol=1e-6)


def test_ratios_stay_in_their_range():
    rr_s = [NAN] + [0.6] * 10 + [0.06, 2.9]
    assert list(column(rr_s, "pre_ratio_100")[-2:]) == pytest.approx([0.2, 3.0])


@pytest.mark.parametrize("mode", MODES)
def test_before_anything_is_known_the_features_are_neutral(mode):
    rows = rhythm_features(np.array([NAN, 0.7]), mode)
    for name, value in zip(RHYTHM[mode], rows[0]):
        assert value == neutral(name), name


def test_the_last_beat_has_no_interval_after_it():
    rows = rhythm_features(np.array([NAN, 0.8, 0.9, 1.0]), "diagnostic")
    after = [value for name, value in zip(RHYTHM["diagnostic"], rows[-1]) if "post" in name]
    assert after and set(after) == {1.0}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rr_s", [[NAN] * 5, [NAN, 0.8, NAN, NAN, 0.9], [NAN, 0.001, 0.001, 3.0]])
def test_rhythm_features_are_always_numbers(mode, rr_s):
    assert np.isfinite(rhythm_features(np.array(rr_s), mode)).all()


def test_flutter_is_neutral_and_enters_no_running_mean():
    beats = np.arange(12) * 288  # 0.8 s
    peaks = np.concatenate([beats, beats[-1] + 720 + beats])
    rr_s = rr_intervals(peaks, 360.0, np.arange(24) == 12)
    for mode in MODES:
        steady = rhythm_features(np.array([NAN] + [0.8] * 23), mode)
        np.testing.assert_allclose(rhythm_features(rr_s, mode), steady, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_a_pause_of_ten_seconds_is_told_from_none_and_not_from_one_of_three(mode):
    beats = np.arange(12) * 288  # 0.8 s
    rows = [
        rhythm_features(rr_intervals(np.concatenate([beats, beats[-1] + pause + beats]), 360.0), mode)
        for pause in (288, 1080, 3600)
    ]
    assert np.array_equal(rows[1], rows[2])
    assert rows[2][12, RHYTHM[mode].index("pre_ratio_100")] == 3.0  # 3.75 usual intervals, at the end of the range
    assert rows[2][12, RHYTHM[mode].index("pre_rank")] == 1.0
    assert not np.array_equal(rows[0][12], rows[2][12])


@pytest.mark.parametrize("mode", MODES)
def test_long_records_in_blocks_equal_the_whole(mode, monkeypatch):
    rr_s = np.random.default_rng(0).uniform(0.5, 1.2, 600)
    rr_s[[0, 300, 301]] = NAN
    whole = rhythm_features(rr_s, mode)
    for block in (7, 100, 599):
        monkeypatch.setattr(rhythm, "BLOCK_BEATS", block)
        assert np.array_equal(rhythm_features(rr_s, mode), whole)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("first", [0, 1, 299, 599, 600])
def test_the_last_rows_alone_are_those_of_the_whole(mode, first):
    rr_s = np.random.default_rng(0).uniform(0.5, 1.2, 600)
    assert np.array_equal(rhythm_features(rr_s, mode, first), rhythm_features(rr_s, mode)[first:])


@pytest.mark.parametrize("mode", MODES)
def test_no_beats_give_no_rows(mode):
    assert rhythm_features(np.empty(0), mode).shape == (0, len(RHYTHM[mode]))


# Windows -------------------------------------------------------------------------------------------------------------


def test_windows_lie_around_r_and_repeat_the_ends_of_the_record():
    signal = np.arange(100.0)
    windows = cut_windows(signal, np.array([2, 50, 99]), 4, 3)
    np.testing.assert_array_equal(windows, [[0, 0, 0, 1, 2, 3, 4], np.arange(46, 53), [95, 96, 97, 98, 99, 99, 99]])


@pytest.mark.parametrize("mode", MODES)
def test_shapes_and_types_of_the_inputs(record, annotation, mode):
    windows, rows, _ = network_inputs(record, annotation, Config(mode=mode))
    assert windows.shape == (len(annotation.samples), CHANNELS, 280) and windows.dtype == np.float32
    assert rows.shape == (len(annotation.samples), len(FEATURES[mode])) and rows.dtype == np.float32
    assert np.isfinite(windows).all() and np.isfinite(rows).all()


def test_r_lies_where_the_mode_puts_it():
    signal = np.zeros(4000)
    peaks = np.array([1000, 2000, 3000])
    signal[peaks] = 1.0
    rr_s = rr_intervals(peaks, 360.0)
    for mode, after in (("diagnostic", 140), ("causal", 54)):
        windows, *_ = beat_inputs(signal, peaks, rr_s, 280 - after, after, 360.0, mode)
        assert list(windows[:, 0].argmax(axis=1)) == [280 - after] * 3


def test_a_beat_of_another_shape_stands_out_and_leaves_the_template_alone():
    beats = [NARROW] * 20 + [WIDE] + [NARROW] * 5
    peaks = 140 + 280 * np.arange(len(beats))
    _, rows, _ = beat_inputs(np.concatenate(beats), peaks, rr_intervals(peaks, 360.0), 140, 140, 360.0, "causal")
    residual = rows[:, FEATURES["causal"].index("qrs_residual")]
    np.testing.assert_allclose(residual[:20], 0, atol=1e-6)
    assert residual[20] > 0.5
    np.testing.assert_allclose(residual[21:], 0, atol=1e-6)


def test_both_channels_by_hand():
    """A beat that repeats the first one three times as high, a flat one, and the first one again."""
    beats = [NARROW, 3 * NARROW, 0 * NARROW, NARROW]
    peaks = 140 + 280 * np.arange(4)
    windows, *_ = beat_inputs(np.concatenate(beats), peaks, rr_intervals(peaks, 360.0), 140, 140, 360.0, "diagnostic")
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
    windows, *_ = beat_inputs(
        np.concatenate([NARROW, NARROW / 1000]), peaks, rr_intervals(peaks, 360.0), 140, 140, 360.0, "diagnostic"
    )
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


@pytest.mark.parametrize("mode, after", [("diagnostic", 140), ("causal", 54)])
@pytest.mark.parametrize("moved_ms", [-60, -40, -17, 17, 40, 60])
def test_the_shape_of_a_beat_does_not_depend_on_which_deflection_is_called_r(mode, after, moved_ms):
    rows = []
    for signal_mv, peaks, height in (tall_and_low(), tall_and_low(moved_ms)):
        rr_s = rr_intervals(peaks, 360.0)
        _, features_of_beats, _ = beat_inputs(signal_mv, peaks, rr_s, 280 - after, after, 360.0, mode)
        rows.append(features_of_beats[-1, -len(SHAPE + P_WAVE) : -len(P_WAVE)])
    np.testing.assert_allclose(rows[1], rows[0], atol=1e-5)
    assert rows[0][SHAPE.index("log_amplitude_ratio")] == pytest.approx(np.log(height), rel=0.01)  # it is lower


P_SPAN = slice(10, 70)
WAVE = np.sin(np.pi * np.arange(60) / 59)  # of one P wave, which fills its span


def p_waves(*heights_mv, template_mv=0.1, memory=None):
    """Features of P waves of `heights_mv` (beats,) against a template of `template_mv`, on a level of 0.3 mV."""
    beats_mv = np.zeros((len(heights_mv), 280))
    beats_mv[:, P_SPAN] = 0.3 + np.outer(heights_mv, WAVE)
    templates_mv = np.zeros((len(heights_mv), 280))
    templates_mv[:, P_SPAN] = template_mv * WAVE
    return (memory or PWaveMemory(P_SPAN, 360.0)).steps(beats_mv, templates_mv)


def test_a_p_wave_is_like_the_usual_one_whatever_its_height_and_level_and_the_means_are_of_earlier_beats():
    rows = p_waves(0.1, 0.2, -0.1, 0.05)
    np.testing.assert_allclose(rows[:, 0], [1, 1, -1, 1], atol=1e-6)
    for mean in rows[:, 1:].T:
        np.testing.assert_allclose(mean, [0, 1, 1, 1 / 3], atol=1e-6)


def test_noise_above_the_band_of_a_p_wave_leaves_it_alike():
    """A hum of 20 or 60 Hz, whole cycles of which last 50 ms, has no mean over them; one of 6 Hz is no noise."""
    wave_mv = np.pad(0.1 * WAVE, (P_SPAN.start, 280 - P_SPAN.stop))

    def correlation(hz: float) -> float:
        beat_mv = wave_mv + 0.3 * np.cos(2 * np.pi * hz * np.arange(280) / 360)
        return PWaveMemory(P_SPAN, 360.0).steps(beat_mv[None], wave_mv[None])[0, 0]

    assert [correlation(20.0), correlation(60.0)] == pytest.approx([1, 1], abs=1e-6)
    assert correlation(6.0) < 0.5


@pytest.mark.parametrize("samples, expected", [(17, 0.0), (18, 0.0), (19, 1.0)])
def test_a_span_too_short_to_be_smoothed_says_nothing(samples, expected):
    """Eighteen samples give one mean, which is alike to nothing; nineteen give two."""
    rising_mv = np.arange(64.0)[None]
    assert PWaveMemory(slice(4, 4 + samples), 360.0).steps(rising_mv, rising_mv)[0, 0] == pytest.approx(expected)


def test_without_a_p_wave_there_is_nothing_to_be_alike():
    np.testing.assert_allclose(p_waves(0.0)[0], 0, atol=1e-6)
    np.testing.assert_allclose(p_waves(0.1, template_mv=0.0)[0], 0, atol=1e-6)


def test_a_window_that_holds_no_p_wave_says_nothing():
    assert p_wave_span(20, 44, 360.0) == slice(0, 0)
    rows = PWaveMemory(slice(0, 0), 360.0).steps(np.ones((2, 64)), np.ones((2, 64)))
    np.testing.assert_array_equal(rows, np.zeros((2, len(P_WAVE))))


@pytest.mark.parametrize("place, memory", [(1, 8), (2, 32)])
def test_the_usual_p_wave_is_forgotten_by_so_many_beats(place, memory):
    """After any number of beats alike, one upside down takes 2 / memory off the mean, two nearly twice that."""
    rows = p_waves(*[0.1] * 50, -0.1, -0.1, 0.1)
    assert rows[50, place] == pytest.approx(1)
    assert rows[51, place] == pytest.approx(1 - 2 / memory)
    assert rows[52, place] == pytest.approx(1 - 2 / memory - (2 - 2 / memory) / memory)


def test_p_waves_one_by_one_are_the_same():
    heights_mv, memory = np.random.default_rng(0).normal(size=70), PWaveMemory(P_SPAN, 360.0)
    single = [p_waves(height_mv, memory=memory) for height_mv in heights_mv]
    assert np.array_equal(np.concatenate(single), p_waves(*heights_mv))


@pytest.mark.parametrize("mode, after", [("diagnostic", 140), ("causal", 54)])
def test_p_waves_are_looked_for_before_the_qrs(mode, after):
    """R-peaks every 280 samples, a P wave 55 samples before each but the last but one."""
    waves = [(0, 4, 1.0), (-55, 7, 0.15)]
    usual, bare = (sum(h * np.exp(-0.5 * ((T - c) / w) ** 2) for c, w, h in waves[:count]) for count in (2, 1))
    other_mv = 1e-3 * np.sin(2 * np.pi * (T + 55) / 60)  # odd about the place of the P wave, which is even
    signal_mv = np.concatenate([usual] * 20 + [bare + other_mv, usual, np.zeros(300)])
    peaks = 140 + 280 * np.arange(22)
    rows = beat_inputs(signal_mv, peaks, rr_intervals(peaks, 360.0), 280 - after, after, 360.0, mode)[1]
    own, short, _ = rows[:, -len(P_WAVE) :].T
    assert own[:20].min() > 0.99 and abs(own[20]) < 0.3 and own[21] > 0.99
    assert short[20] > 0.99 and short[21] == pytest.approx(short[20] + (own[20] - short[20]) / 8, abs=1e-5)


def test_an_aligned_beat_is_shifted_and_repeats_its_last_sample():
    template = RunningTemplate(280, slice(110, 171), 360.0)
    template.step(NARROW)
    late = np.roll(NARROW, 12) + 0.001 * T / 140
    aligned, shown = template.step(late)
    assert np.array_equal(shown, NARROW)
    assert np.array_equal(aligned, np.concatenate([late[12:], np.full(12, late[-1])]))


def test_a_beat_without_need_is_not_shifted():
    """A straight slope is of the same shape at every shift."""
    template = RunningTemplate(280, slice(110, 171), 360.0)
    template.step(T / 140)
    assert np.array_equal(template.step(T / 100)[0], T / 100)


def test_the_template_of_a_beat_is_of_the_beats_before_it():
    rng = np.random.default_rng(0)
    beats_mv = rng.normal(size=(40, 280))
    aligned_mv, templates_mv, _ = running_templates(beats_mv, slice(110, 170), 360.0)
    assert np.array_equal(templates_mv[0], beats_mv[0]) and np.array_equal(aligned_mv[0], beats_mv[0])
    for beat in (1, 5, 39):
        changed = np.concatenate([beats_mv[:beat], rng.normal(size=(40 - beat, 280))])
        other_aligned_mv, other_templates_mv, _ = running_templates(changed, slice(110, 170), 360.0)
        assert np.array_equal(other_templates_mv[: beat + 1], templates_mv[: beat + 1])
        assert np.array_equal(other_aligned_mv[:beat], aligned_mv[:beat])


@pytest.mark.parametrize("shift, expected", [(0, "abcde"), (2, "cdeee"), (-2, "aaabc"), (4, "eeeee")])
def test_a_shifted_beat_by_hand(shift, expected):
    assert "".join(templates._shifted(np.array(list("abcde")), shift)) == expected


def test_templates_of_a_stream_are_those_of_the_record(record, annotation, monkeypatch):
    """What a step returned stays as it was, whatever comes later; blocks of the record are no bounds."""
    monkeypatch.setattr(templates, "BLOCK_SPANS", 7)
    beats_mv = cut_windows(record.signal_mv, annotation.samples, 140, 140)
    template = RunningTemplate(280, slice(110, 171), 360.0)
    steps = [(*template.step(beat_mv), template.group) for beat_mv in beats_mv]
    for of_steps, of_record in zip(zip(*steps), running_templates(beats_mv, slice(110, 171), 360.0)):
        assert np.array_equal(np.array(of_steps), of_record)


def test_beats_of_a_shape_are_of_one_group_and_a_new_shape_starts_one():
    """Narrow, wide and narrow beats in turn; the first of each shape is told by ~group."""
    beats_mv = np.stack([WIDE if i % 3 == 1 else NARROW for i in range(12)])
    _, _, groups = running_templates(beats_mv, slice(110, 171), 360.0)
    assert groups.tolist() == [~0, ~1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0]


def test_the_template_is_the_mean_of_the_latest_twenty_beats_of_its_shape():
    """Of beats that grow by 1 a beat up to 20: the mean of 1 ... n. Then each new one moves it by a twentieth."""
    heights = np.arange(1.0, 32.0)
    _, templates_mv, _ = running_templates(heights[:, None] * NARROW, slice(110, 171), 360.0)
    expected = [1.0] + [(n + 1) / 2 for n in range(1, 20)]  # of beats 0 ... 19, before each
    np.testing.assert_allclose(templates_mv[:20].max(axis=1), expected, rtol=0.01)  # ranks fade by 0.2 % a beat
    moved = np.diff(templates_mv.max(axis=1))[22:]
    np.testing.assert_allclose(moved, (heights - templates_mv.max(axis=1))[22:-1] / 20, rtol=0.01)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mode, look_ahead_ms", [("diagnostic", 150.0), ("causal", 0.0), ("causal", 388.0)])
def test_inputs_are_numbers_at_every_look_ahead_and_for_flat_beats(record, annotation, mode, look_ahead_ms):
    signal_mv = record.signal_mv.copy()
    signal_mv[3600:7200] = signal_mv[3600]
    flat = Record(record.name, record.lead, record.fs_hz, signal_mv)
    config = Config(mode=mode, look_ahead_ms=look_ahead_ms)
    assert all(np.isfinite(values).all() for values in network_inputs(flat, annotation, config))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("gain, offset_mv", [(0.3, 0.0), (5.0, 0.0), (1.0, 4.0), (1.0, -0.7)])
def test_gain_and_offset_of_the_recorder_change_nothing(record, annotation, window, gain, offset_mv):
    config = settings(window)
    changed = Record(record.name, record.lead, record.fs_hz, record.signal_mv * gain + offset_mv)
    windows, rows, _ = network_inputs(record, annotation, config)
    other_windows, other_rows, _ = network_inputs(changed, annotation, config)
    np.testing.assert_allclose(other_windows, windows, atol=1e-4)
    for name, values, others in zip(FEATURES[config.mode], rows.T, other_rows.T):
        np.testing.assert_allclose(others, values, atol=1e-4, err_msg=name)


# Causality -----------------------------------------------------------------------------------------------------------


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
    config, rng = settings(window), np.random.default_rng(0)
    windows, rows, _ = network_inputs(record, annotation, config)
    for beat in (0, 1, 33, 60, len(annotation.samples) - 2):
        from_sample = annotation.samples[beat] + config.look_ahead_samples
        others = with_another_future(record, annotation, beat, from_sample, rng)
        other_windows, other_rows, _ = network_inputs(*others, config)
        assert np.array_equal(other_windows[: beat + 1], windows[: beat + 1])
        assert np.array_equal(other_rows[: beat + 1], rows[: beat + 1])


def test_causal_inputs_do_use_the_look_ahead(record, annotation):
    """The probe above is not empty: one sample earlier, the window changes."""
    config = Config(mode="causal")
    windows, *_ = network_inputs(record, annotation, config)
    from_sample = annotation.samples[33] + config.look_ahead_samples - 1
    others = with_another_future(record, annotation, 33, from_sample, np.random.default_rng(0))
    assert not np.array_equal(network_inputs(*others, config)[0][33], windows[33])


def test_resampled_causal_inputs_look_ahead_by_less_than_one_more_sample(record, annotation):
    slow = Record(record.name, record.lead, 250.0, record.signal_mv)
    config, rng = Config(mode="causal"), np.random.default_rng(0)
    windows, rows, _ = network_inputs(slow, annotation, config)
    for beat in (0, 33, 60):
        last_s = (round(annotation.samples[beat] * 360 / 250) + config.look_ahead_samples - 1) / 360
        others = with_another_future(slow, annotation, beat, int(np.floor(last_s * 250)) + 2, rng)
        other_windows, other_rows, _ = network_inputs(*others, config)
        assert np.array_equal(other_windows[: beat + 1], windows[: beat + 1])
        assert np.array_equal(other_rows[: beat + 1], rows[: beat + 1])


def test_diagnostic_rhythm_looks_one_beat_ahead_and_no_further():
    rng = np.random.default_rng(0)
    rr_s = rng.uniform(0.5, 1.2, 80)
    rr_s[0] = NAN
    rows = rhythm_features(rr_s, "diagnostic")
    for beat in (0, 1, 40, 77):
        changed = np.concatenate([rr_s[: beat + 2], rng.uniform(0.3, 2.9, 5)])
        assert np.array_equal(rhythm_features(changed, "diagnostic")[: beat + 1], rows[: beat + 1])
        changed = rr_s.copy()
        changed[beat + 1] += 0.3
        different = rhythm_features(changed, "diagnostic")[beat] != rows[beat]
        named = {name for name, differs in zip(RHYTHM["diagnostic"], different) if differs}
        assert "pre_post_ratio" in named or beat == 0  # which has no interval of its own
        assert all("post" in name for name in named)


def test_the_template_is_the_commoner_shape_and_never_a_blend():
    """Two shapes in turn from the very first beat: bigeminy. The template is one of them, then the commoner one."""
    beats = np.array([WIDE, NARROW] * 20 + [NARROW] * 10)
    _, templates, _ = running_templates(beats, slice(110, 171), 360.0)
    is_narrow = np.isclose(templates, NARROW).all(axis=1)
    assert (is_narrow | np.isclose(templates, WIDE).all(axis=1)).all()
    assert is_narrow[-8:].all()
