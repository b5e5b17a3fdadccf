"""Where the signal is lost: by hand, in chunks of any size, and what may be forgotten of it."""

import numpy as np
import pytest

from deep_ecg.beats.signal_watch import Runs, SignalWatch, stretches


def watched(signal_mv: np.ndarray, fs_hz: float, chunk: int) -> SignalWatch:
    watch = SignalWatch(fs_hz)
    for start in range(0, len(signal_mv), chunk):
        watch(signal_mv[start : start + chunk])
    return watch


@pytest.mark.parametrize("chunk", [1, 7, 60, 400])
@pytest.mark.parametrize(
    "first, count, value, lost",
    [
        (100, 3, np.nan, None),  # at 100 Hz 0.03 s are 3 samples
        (100, 4, np.nan, (103, 103)),
        (100, 40, np.inf, (103, 139)),
        (100, 49, 7.0, None),  # the first sample is a change, so 0.5 s without any end with the 51st
        (100, 50, 7.0, None),
        (100, 51, 7.0, (150, 150)),
        (100, 90, 7.0, (150, 189)),
    ],
)
def test_lost_samples_by_hand(first, count, value, lost, chunk):
    signal_mv = np.arange(400) / 100
    signal_mv[first : first + count] = value
    watch = watched(signal_mv, 100.0, chunk)
    found = [sample for sample in range(1, 400) if watch.lost_between(sample - 1, sample)]
    assert found == (list(range(lost[0], lost[1] + 1)) if lost else [])
    assert watch.lost_between(0, 399) == (lost is not None) and not watch.lost_between(200, 399)


def test_missing_samples_are_filled_with_the_one_before_them():
    watch = SignalWatch(100.0)
    filled_mv, missing = watch(np.array([np.nan, 1.0, np.nan]))
    assert filled_mv.tolist() == [0, 1, 1] and missing.tolist() == [True, False, True]
    filled_mv, missing = watch(np.array([np.inf, -1e5, 2.0]))
    assert filled_mv.tolist() == [1, 1, 2] and missing.tolist() == [True, True, False]


@pytest.mark.parametrize(
    "value, fault", [(np.nan, "missing"), (1.0, "flat"), (3.0, "saturated"), (-3.0, "saturated"), (None, None)]
)
def test_fault_says_what_is_wrong_just_now(value, fault):
    signal_mv = np.clip(4 * np.sin(np.arange(300.0)), -3, 3)
    if value is not None:
        signal_mv[200:] = value
    assert watched(signal_mv, 100.0, 30).fault == fault


def test_what_is_forgotten_changes_no_answer_about_later_samples():
    signal_mv = np.random.default_rng(0).normal(size=5000)
    for start in range(100, 4900, 50):
        signal_mv[start : start + 10] = np.nan
    whole, forgetful = watched(signal_mv, 100.0, 5000), SignalWatch(100.0)
    for end in range(100, 5000, 100):
        forgetful(signal_mv[end - 100 : end])
        forgetful.forget(end - 500)
        later = max(end - 500, 0) + np.arange(0, 500, 9)
        for earlier in range(0, end, 37):
            for sample in later[later > earlier]:
                expected = whole.lost_between(earlier, min(sample, end - 1))
                assert forgetful.lost_between(earlier, min(sample, end - 1)) == expected
    assert len(forgetful._ends) <= 11


def test_stretches_by_hand():
    assert stretches(np.array([1, 1, 0, 0, 1, 0, 1], bool)) == [(0, 1), (4, 4), (6, 6)]
    assert stretches(np.zeros(3, bool)) == []


OF_THREE = [(0, 3, [1, 1, 2]), (2, 6, [7, 7, 1, 1, 2, 7]), (1, 4, [7, 1, 1, 2])]


@pytest.mark.parametrize("first, length, expected", OF_THREE)
def test_a_row_is_placed_in_a_longer_one(first, length, expected):
    row = Runs.of([np.array([1, 1, 2], np.int8)]).placed(first, length, 7)
    assert row[np.arange(length)].tolist() == expected and len(row) == length


@pytest.mark.parametrize(
    "row, reach, expected",
    [
        ([0, 0, 0, 1, 0, 0, 0], 2, [0, 1, 1, 1, 1, 1, 0]),
        ([0, 0, 0, 1, 0, 0, 0], 0, [0, 0, 0, 1, 0, 0, 0]),
        ([1, 0, 0, 0, 0, 0, 1], 1, [1, 1, 0, 0, 0, 1, 1]),
        ([1, 0, 0, 1, 0, 0, 1], 1, [1, 1, 1, 1, 1, 1, 1]),
        ([0, 1, 0, 0, 0, 1, 0], 9, [1, 1, 1, 1, 1, 1, 1]),
        ([0, 0, 0], 2, [0, 0, 0]),
    ],
)
def test_what_is_near_runs(row, reach, expected):
    runs = Runs.of([np.array(row, np.int8)])
    near = runs.near(runs.values == 1, reach)
    assert near[:].tolist() == expected and len(near) == len(row)
