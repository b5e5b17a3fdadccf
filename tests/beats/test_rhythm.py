"""RR intervals and features of the rhythm: worked by hand, and by what must not change them."""

import numpy as np
import pytest

from config import MODES
from deep_ecg.beats.rhythm import RHYTHM, RhythmMemory, rhythm_features, rr_interval_s, rr_intervals
from deep_ecg.beats.signal_watch import SignalWatch

NAN = np.nan


def column(rr_s, name, mode="diagnostic"):
    """One rhythm feature of every beat."""
    return rhythm_features(np.array(rr_s, float), mode)[:, RHYTHM[mode].index(name)]


def neutral(name):
    """What a rhythm feature says where nothing is known, or nothing happens."""
    return 1.0 if "ratio" in name else 0.5 if "rank" in name else 0.0


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


def test_there_is_no_interval_across_lost_signal():
    """Of 400 samples at 100 Hz, 150 to 189 are missing: lost from the fourth on, 153."""
    signal_mv = np.arange(400) / 100
    signal_mv[150:190] = NAN
    watch = SignalWatch(100.0)
    watch(signal_mv)
    peaks = np.array([10, 110, 152, 160, 250, 350])
    np.testing.assert_array_equal(rr_intervals(peaks, 100.0, watch=watch), [NAN, 1.0, 0.42, NAN, NAN, 1.0])
    assert rr_interval_s(110, 152, 100.0, watch) == 0.42 and np.isnan(rr_interval_s(152, 153, 100.0, watch))
    assert np.isnan(rr_interval_s(None, 110, 100.0, watch))


# Features ------------------------------------------------------------------------------------------------------------


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


# Parts and wholes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_long_records_in_blocks_equal_the_whole(mode):
    rr_s = np.random.default_rng(0).uniform(0.5, 1.2, 600)
    rr_s[[0, 300, 301]] = NAN
    whole = rhythm_features(rr_s, mode)
    for block in (7, 100, 599):
        assert np.array_equal(rhythm_features(rr_s, mode, block_beats=block), whole)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("first", [0, 1, 299, 599, 600])
def test_the_last_rows_alone_are_those_of_the_whole(mode, first):
    rr_s = np.random.default_rng(0).uniform(0.5, 1.2, 600)
    assert np.array_equal(rhythm_features(rr_s, mode, np.arange(first, 600)), rhythm_features(rr_s, mode)[first:])


@pytest.mark.parametrize("mode", MODES)
def test_no_beats_give_no_rows(mode):
    assert rhythm_features(np.empty(0), mode).shape == (0, len(RHYTHM[mode]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("count", [1, 7, 399, 400, 1000])
def test_beats_a_few_at_a_time_have_the_features_of_the_whole(mode, count):
    """1000 intervals, gaps among them; the longest memory is 400. The interval after each part is known."""
    rr_s = np.random.default_rng(0).uniform(0.5, 1.2, 1000)
    rr_s[[0, 300, 301, 720]] = NAN
    memory, rows = RhythmMemory(mode), []
    for start in range(0, 1000, count):
        after = rr_s[start + count] if start + count < 1000 else NAN
        rows.append(memory.steps(rr_s[start : start + count], after))
    assert np.array_equal(np.concatenate(rows), rhythm_features(rr_s, mode))


@pytest.mark.parametrize("mode", MODES)
def test_beats_that_are_left_out_are_remembered_all_the_same(mode):
    rng = np.random.default_rng(1)
    rr_s, kept = np.r_[NAN, rng.uniform(0.5, 1.2, 299)], rng.random(300) < 0.3
    memory = RhythmMemory(mode)
    rows = [memory.steps(rr_s[:100], rr_s[100], kept[:100]), memory.steps(rr_s[100:], kept=kept[100:])]
    assert np.array_equal(np.concatenate(rows), rhythm_features(rr_s, mode)[kept])
