"""Long stretches without beats: where, and why."""

import numpy as np
import pytest

from deep_ecg.beats.signal_quality import LOST, NOISY, STATES, UNREADABLE
from deep_ecg.beats.signal_watch import Runs
from deep_ecg.labelling.signal_state import (
    SMALL,
    Stretch,
    as_json,
    in_words,
    noise_kind,
    outside,
    signal_at,
    silent_stretches,
    unread_in_words,
    unread_share,
    unread_stretches,
    watched,
)
from deep_ecg.records.long_signal import LongSignal
from deep_ecg.records.wfdb_files import Record
from tests.support.records import beat_times_s, spikes_mv

FS_HZ = 250.0


@pytest.mark.parametrize(
    "why, lost",
    [
        ("missing", lambda count: np.full(count, np.nan)),
        ("flat", lambda count: np.full(count, 0.1)),
        ("saturated", lambda count: np.full(count, 5.0)),
        ("signal too small: lead off?", lambda count: np.random.default_rng(1).normal(0, 0.002, count)),
        ("no beats found", lambda count: np.random.default_rng(1).normal(0, 0.2, count)),
    ],
)
def test_a_long_stretch_without_beats_has_a_reason(why, lost):
    times_s = beat_times_s(60)
    signal_mv = spikes_mv(times_s, 60, FS_HZ)
    signal_mv[20 * 250 : 40 * 250] = lost(20 * 250)
    samples = np.round(times_s[(times_s < 19.9) | (times_s > 40.1)] * FS_HZ).astype(int)
    before, after = samples[samples < 5000].max(), samples[samples > 9999].min()
    silent = silent_stretches(Record("r", "II", FS_HZ, signal_mv), samples)
    assert silent == [Stretch(before, after, why)]


@pytest.mark.parametrize("pause_s, told", [(4.9, 0), (5.1, 1)])
def test_a_pause_is_not_told(pause_s, told):
    samples = np.array([250, 500, 500 + round(pause_s * 250), 750 + round(pause_s * 250)])
    signal_mv = np.random.default_rng(1).normal(0, 0.2, samples[-1] + 100)
    assert len(silent_stretches(Record("r", "II", FS_HZ, signal_mv), samples)) == told


def test_hours_without_beats_are_judged_by_the_first_one():
    """Two hours at 100 Hz, of which nothing was recorded in the first; a signal that is read in parts."""
    signal_mv, asked = np.random.default_rng(1).normal(0, 0.2, 720_000), []
    signal_mv[:360_000] = np.nan

    def read(first: int, last: int) -> np.ndarray:
        asked.append(last - first)
        return signal_mv[first:last]

    record = Record("r", "II", 100.0, LongSignal(len(signal_mv), read).as_array())
    assert silent_stretches(record, np.zeros(0, int)) == [Stretch(0, 719_999, "missing")]
    unread = unread_stretches(record, Runs.of([np.full(720_000, UNREADABLE, np.int8)]))
    assert unread == [Stretch(0, 719_999, "missing")] and max(asked) == 360_000


def test_words_and_numbers_of_the_stretches():
    silent = as_json([Stretch(150_000, 750_000, "flat")], FS_HZ)
    assert silent == [{"first": 150_000, "last": 750_000, "first_s": 600.0, "last_s": 3000.0, "why": "flat"}]
    assert in_words(silent) == "no beats for 2,400 s: 0:10:00-0:50:00 (flat)"
    five = ", ".join(5 * ["0:10:00-0:50:00 (flat)"])
    assert in_words(8 * silent) == f"no beats for 19,200 s: {five} and 3 stretches more"
    assert in_words([]) is None


# What cannot be read -------------------------------------------------------------------------------------------------


def sines_mv(hz: float, count: int) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(count) / FS_HZ)


@pytest.mark.parametrize(
    "why, spoilt",
    [
        ("missing", lambda mv: np.full(len(mv), np.nan)),
        ("lead off", lambda mv: np.full(len(mv), 0.1)),
        ("saturated", lambda mv: np.full(len(mv), 5.0)),
        ("saturated", lambda mv: np.clip(20 * sines_mv(3, len(mv)), -5, 5)),
        ("mains", lambda mv: mv + sines_mv(50, len(mv))),
        ("mains", lambda mv: mv + sines_mv(60, len(mv))),
        ("muscle", lambda mv: mv + 0.5 * np.random.default_rng(2).normal(size=len(mv))),
        ("motion", lambda mv: mv + np.cumsum(np.random.default_rng(3).normal(0, 0.2, len(mv)))),
        ("motion", lambda mv: mv + sines_mv(4, len(mv))),
    ],
)
def test_a_stretch_that_cannot_be_read_has_a_reason(why, spoilt):
    signal_mv, states = spikes_mv(beat_times_s(60), 60, FS_HZ), np.zeros(15_000, np.int8)
    signal_mv[5000:8000] = spoilt(signal_mv[5000:8000])
    states[5000:8000] = UNREADABLE
    if why in ("missing", "lead off") or np.ptp(signal_mv[5000:8000]) == 0:
        states[5125:8000] = LOST
    assert unread_stretches(Record("r", "II", FS_HZ, signal_mv), Runs.of([states])) == [Stretch(5000, 7999, why)]


def test_mains_cannot_be_told_where_the_rate_is_too_low():
    assert noise_kind(np.random.default_rng(0).normal(size=1000), 100.0) == "muscle"


@pytest.mark.parametrize("length, told", [(249, 0), (252, 1)])
def test_less_than_a_second_is_not_told(length, told):
    states = np.zeros(5000, np.int8)
    states[1000 : 1000 + length] = UNREADABLE
    record = Record("r", "II", FS_HZ, np.random.default_rng(0).normal(size=5000))
    assert len(unread_stretches(record, Runs.of([states]))) == told
    assert unread_stretches(record, Runs.of([np.full(5000, NOISY, np.int8)])) == []


def test_the_state_at_beats():
    signal_mv, states = np.random.default_rng(0).normal(size=5000), np.zeros(5000, np.int8)
    states[1000:2000], states[2000:3000] = NOISY, UNREADABLE
    signal_mv[4000:4100] = np.nan
    watch = watched(Record("r", "II", FS_HZ, signal_mv))
    found = signal_at(watch, np.array([500, 1500, 2500, 3500, 3950]), FS_HZ, Runs.of([states]))
    assert found.tolist() == ["ok", "noisy", "unreadable", "ok", "lost"]
    assert set(found) <= set(STATES)


@pytest.mark.parametrize(
    "others, left",
    [
        ([], [(100, 199)]),
        ([(0, 49), (300, 400)], [(100, 199)]),
        ([(150, 300)], [(100, 149)]),
        ([(0, 120), (180, 300)], [(121, 179)]),
        ([(140, 150), (120, 130)], [(100, 119), (131, 139), (151, 199)]),
        ([(100, 199)], []),
    ],
)
def test_what_of_a_stretch_lies_outside_of_others(others, left):
    parts = outside([Stretch(100, 199, "motion")], [Stretch(*one, "no beats found") for one in others])
    assert [(one.first, one.last, one.why) for one in parts] == [(*one, "motion") for one in left]


@pytest.mark.parametrize("fs_hz", [50.0, 55.0, 100.0])
def test_a_silent_stretch_is_told_at_the_lowest_rates(fs_hz):
    """Ten seconds of hardly anything after beats, at rates whose half lies within the QRS's band."""
    samples = np.round(fs_hz * np.arange(1, 11)).astype(int)
    signal_mv = np.zeros(round(21 * fs_hz))
    signal_mv[samples] = 1.0
    signal_mv += 0.001 * np.random.default_rng(0).normal(size=len(signal_mv))
    (one,) = silent_stretches(Record("r", "II", fs_hz, signal_mv), samples)
    assert one.first == samples[-1] and one.why == SMALL


def test_share_and_words_of_what_cannot_be_read():
    unread, silent = [Stretch(0, 99, "motion")], [Stretch(50, 149, "no beats found"), Stretch(900, 999, "flat")]
    assert unread_share(unread, silent, 1000) == 0.25
    assert unread_share([], [], 1000) == 0 == unread_share([], [], 0)
    in_json = as_json([Stretch(250, 750, "muscle")], FS_HZ)
    assert unread_in_words(in_json) == "not readable for 2 s: 0:00:01-0:00:03 (muscle)"
    assert unread_in_words([]) is None
