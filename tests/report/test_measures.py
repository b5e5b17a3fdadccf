"""Every figure of a report against records worked out by hand."""

from dataclasses import replace
from datetime import datetime, time

import numpy as np
import pytest

from deep_ecg.report.beat_series import BeatSeries, RhythmEpisode, Unread
from deep_ecg.report.measures import measures_of
from deep_ecg.report.rules import Rules, written_out


def near(value: float) -> object:
    return pytest.approx(value, abs=1e-6)


def test_counts_and_burdens(beats):
    """10 beats, 2 V of 10: 20 %; the beat that is not counted, and the one too unsure for a class, are in none."""
    series = beats("NNVNNSNVNFQN")
    counted = np.arange(12) != 4
    classified = np.arange(12) != 6
    told = measures_of(replace(series, counted=counted, classified=classified))["beats"]
    assert told["all"] == 12 and told["counted"] == 10
    assert told["classes"] == {"N": 5, "S": 1, "V": 2, "F": 1, "Q": 1}
    assert told["percent"] == {"N": 50, "S": 10, "V": 20, "F": 10, "Q": 10}


def test_mean_rate_is_of_the_intervals_and_not_of_lost_time(beats):
    """Intervals 600, 1000, (4000 lost), 800: 3 intervals in 2.4 s are 75/min."""
    series = beats("NNNNN", [600, 1000, 4000, 800], after_gap=np.array([0, 0, 0, 1, 0], bool))
    told = measures_of(series)
    assert told["rate"]["mean_per_min"] == near(75)
    assert told["longest_rr"] == {"s": 1.0, "at_s": 1.6, "time": "0:00:01"}
    assert told["pauses"] == {"count": 0, "long": 0}


def test_lowest_and_highest_rate_over_eight_intervals(beats):
    """10 intervals of 1 s, 8 of 0.5 s, 10 of 0.75 s: 8 in 8 s are 60/min, 8 in 4 s 120/min, the first at 11 s."""
    series = beats("N" * 29, [1000] * 10 + [500] * 8 + [750] * 10)
    rate = measures_of(series)["rate"]
    assert rate["lowest"] == {"per_min": near(60), "at_s": 1.0, "time": "0:00:01"}
    assert rate["highest"] == {"per_min": near(120), "at_s": 11.0, "time": "0:00:11"}


def test_a_rate_over_eight_intervals_needs_all_eight(beats):
    """Of 15 intervals the eighth is across lost signal: no eight in a row."""
    series = beats("N" * 16, after_gap=np.arange(16) == 8)
    rate = measures_of(series)["rate"]
    assert rate["mean_per_min"] == near(75) and rate["lowest"] is None and rate["highest"] is None


def test_beats_that_are_not_counted_end_intervals_and_begin_none(beats):
    """Beats 1 s apart; beat 3 is unreadable: the intervals 2-3 and 3-4 are none, so 4 of 6 are left."""
    series = beats("N" * 7, 1000, counted=np.arange(7) != 3)
    assert np.isfinite(series.rr_s).tolist() == [False, True, True, False, False, True, True]
    assert measures_of(series)["rr_histogram"]["counts"] == {"N": [4]}


def test_pauses_and_the_longest_rr(beats):
    """Pauses are above 2 s: 2.001 and 3.5 and 9 s, of which two above 3 s; 10.5 s is a stretch without beats."""
    series = beats("NNNNNN", [2000, 2001, 3500, 9000, 10_500])
    told = measures_of(series)
    assert told["pauses"] == {"count": 3, "long": 2}
    assert told["longest_rr"]["s"] == 9.0 and told["longest_rr"]["at_s"] == 8.501


def test_singles_couplets_and_runs(beats):
    """V: single at 2, couplet 4-5, run of 3 at 7-9 (400 and 500 ms: 133.3/min), run of 4 at 11-14 (600: 100/min)."""
    letters = "NNVNVVNVVVNVVVVNS"
    rr_ms = [800] * 7 + [400, 500] + [800] * 2 + [600] * 3 + [800] * 2
    told = measures_of(beats(letters, rr_ms))
    v = told["ventricular"]
    assert (v["beats"], v["single"], v["couplets"]) == (10, 1, 1)
    assert v["percent"] == near(100 * 10 / 17)
    assert v["runs"] == {"count": 2, "beats": 7, "s": 0.9 + 1.8}
    assert (v["fastest_run"]["beats"], v["fastest_run"]["per_min"]) == (3, 133.3)
    assert (v["longest_run"]["beats"], v["longest_run"]["per_min"]) == (4, 100.0)
    assert v["fastest_run"]["at_s"] == 6.6  # 1 s and 7 intervals of 0.8 s
    s = told["supraventricular"]
    assert (s["beats"], s["single"], s["couplets"], s["runs"]["count"]) == (1, 1, 0, 0)
    assert s["fastest_run"] is None


@pytest.mark.parametrize("spoil", ["gap", "uncounted", "unsure", "fusion"])
def test_what_stands_between_beats_ends_a_run(beats, spoil):
    """Of VVVVV the middle is lost, unreadable, too unsure or F: two couplets; a gap before it leaves 2 and 3."""
    letters = "NVVFVVN" if spoil == "fusion" else "NVVVVVN"
    middle = np.arange(7) == 3
    more = {"gap": {"after_gap": middle}, "uncounted": {"counted": ~middle}, "unsure": {"classified": ~middle}}
    v = measures_of(beats(letters, **more.get(spoil, {})))["ventricular"]
    assert (v["couplets"], v["runs"]["count"]) == ((1, 1) if spoil == "gap" else (2, 0))


@pytest.mark.parametrize(
    "letters, bigeminy, trigeminy",
    [
        ("NVNVNVN", (1, 3), (0, 0)),  # three cycles
        ("NVNVNN", (0, 0), (0, 0)),  # two are too few
        ("NVNVNVNNVNVNVNV", (2, 7), (0, 0)),  # interrupted by a normal cycle
        ("NNVNNVNNVNN", (0, 0), (1, 3)),
        ("NVNVNVNNVNNVNN", (1, 3), (1, 3)),  # the third V ends one and begins the other
        ("NVNVVNVNV", (0, 0), (0, 0)),  # a couplet is not single
        ("NVNSNVNVN", (0, 0), (0, 0)),  # another class is no N
        ("VNVNV", (1, 3), (0, 0)),  # from the first beat to the last
    ],
)
def test_bigeminy_and_trigeminy(beats, letters, bigeminy, trigeminy):
    v = measures_of(beats(letters))["ventricular"]
    assert (v["bigeminy"]["count"], v["bigeminy"]["beats"]) == bigeminy
    assert (v["trigeminy"]["count"], v["trigeminy"]["beats"]) == trigeminy


def test_bigeminy_does_not_go_on_across_lost_signal(beats):
    v = measures_of(beats("NVNVNVN", after_gap=np.arange(7) == 4))["ventricular"]
    assert v["bigeminy"]["count"] == 0


def test_time_of_bigeminy(beats):
    """From the first V at 1.8 s to the third, four intervals of 0.8 s later."""
    v = measures_of(beats("NVNVNVN"))["ventricular"]
    assert v["bigeminy"]["s"] == 3.2


def test_tachycardia_and_bradycardia(beats):
    """20 beats at 75/min, 25 intervals of 0.5 s, 20 at 75/min, 12 intervals of 1.5 s: 40/min.

    Eight intervals above 100/min have a mean below 0.6 s: at least 6 of 0.5 s and 2 of 0.8 s (0.575 s). So from two
    intervals before to two after the fast ones: 12.5 s and 4 x 0.8 s. Below 50/min is a mean above 1.2 s: at least 5 of
    1.5 s and 3 of 0.8 s (1.2375 s): from three intervals before to the end: 18 s and 2.4 s.
    """
    series = beats("N" * 77, [800] * 19 + [500] * 25 + [800] * 20 + [1500] * 12)
    told = measures_of(series)
    assert told["tachycardia"] == {"count": 1, "beats": 30, "s": near(15.7)}
    assert told["bradycardia"] == {"count": 1, "beats": 16, "s": near(20.4)}


def test_a_clock_beyond_all_dates_is_none(beats):
    """Of a record that starts 10 s before the end of the year 9999 and lasts a minute, and of one that ends before."""
    late = beats("N" * 60, 1000, started=datetime(9999, 12, 31, 23, 59, 50))
    assert late.clock_of(0.0) is None and late.time_text(5.0) == beats("N" * 60, 1000).time_text(5.0)
    assert measures_of(late)["beats"] == measures_of(beats("N" * 60, 1000))["beats"]
    early = beats("N" * 60, 1000, started=datetime(9999, 12, 31, 23, 0))
    assert early.clock_of(5.0) == datetime(9999, 12, 31, 23, 0, 5)


@pytest.mark.parametrize("fs_hz, rr", [(360.0, 216), (250.0, 150), (500.0, 300), (360.0, 432), (500.0, 600)])
def test_a_rate_at_a_limit_is_not_beyond_it(beats, fs_hz, rr):
    """100 and 50 a minute for ten minutes: neither tachycardia nor bradycardia."""
    series = replace(beats("N" * 1000), samples=rr * np.arange(1, 1001), fs_hz=fs_hz, length=rr * 1002)
    told = measures_of(series)
    assert told["tachycardia"]["count"] == told["bradycardia"]["count"] == 0


def test_a_fast_stretch_shorter_than_ten_seconds_is_not_told(beats):
    """12 intervals of 0.5 s: 6 s, with two of 0.8 s before and after 9.2 s."""
    series = beats("N" * 33, [800] * 10 + [500] * 12 + [800] * 10)
    assert measures_of(series)["tachycardia"]["count"] == 0
    short = replace(series, rules=Rules(rate_episode_s=9.0))
    assert measures_of(short)["tachycardia"]["count"] == 1


def test_hours_from_the_start(beats):
    """A beat a second for 90 min, from 1 s on: 3,599 in the first hour (1 to 3,599 s), 1,801 in what is left."""
    letters = "N" * 100 + "VVV" + "N" * 3500 + "S" + "N" * 1796
    series = beats(letters, 1000, unread=[Unread(3_500_000, 3_700_000, "flat")])
    first, second = measures_of(series)["hours"]
    assert (first["time"], second["time"]) == ("0:00:00", "1:00:00")
    assert (first["beats"], second["beats"]) == (3599, 1801)
    assert first["classes"]["V"] == 3 and second["classes"]["S"] == 1
    assert first["runs"] == {"V": 1, "S": 0} and second["runs"] == {"V": 0, "S": 0}
    assert first["mean_per_min"] == near(60) == first["lowest_per_min"] == first["highest_per_min"]
    assert first["read_percent"] == near(100 * 3500 / 3600)
    assert second["read_percent"] == near(100 * (series.duration_s - 3700) / (series.duration_s - 3600))


@pytest.mark.parametrize("started", [time(23, 50), datetime(2026, 3, 1, 23, 50)])
def test_hours_of_the_clock(beats, started):
    """From 23:50 on, a beat a second for 20 min: 599 in ten minutes (1 to 599 s), 601 in the next hour."""
    told = measures_of(beats("N" * 1200, 1000, started=started))
    assert [hour["time"] for hour in told["hours"]] == ["23:50:00", "00:00:00"]
    assert [hour["beats"] for hour in told["hours"]] == [599, 601]
    assert told["started"] == started.isoformat()
    assert told["longest_rr"]["time"] == "23:50:01"


def test_how_much_was_read(beats):
    """Of 1 s, 9 intervals of 1 s, and 1 s, 2 s were not: 9 of 11."""
    told = measures_of(beats("N" * 10, 1000, unread=[Unread(0, 1000, "flat"), Unread(5000, 6000, "missing")]))
    assert told["read_percent"] == near(100 * 9 / 11)


def test_rhythm_is_not_judged_without_a_detector_and_its_burden_told_with_one(beats):
    """Two episodes, 2 s and 1 s, of 11 s, of which 1 s was not read: 30 %."""
    series = beats("N" * 10, 1000, unread=[Unread(0, 1000, "flat")])
    assert measures_of(series)["rhythm"] is None
    assert measures_of(replace(series, rhythm=[]))["rhythm"] == {}
    fibrillation = [RhythmEpisode(2000, 4000, "atrial fibrillation"), RhythmEpisode(6000, 7000, "atrial fibrillation")]
    told = measures_of(replace(series, rhythm=fibrillation))
    # beats at 2, 3, 4 s and at 6, 7 s
    assert told["rhythm"] == {"atrial fibrillation": {"count": 2, "beats": 5, "s": 3.0, "percent": near(30)}}


@pytest.mark.parametrize("first, percent", [(0, 100), (3000, 100 * 6 / 9), (6000, 100 * 5 / 9)])
def test_what_cannot_be_read_within_an_episode_is_no_part_of_its_burden(beats, first, percent):
    """From 0, 3 and 6 s to the end at 11 s, of which the 2 s from 4 s on were not read: 9, 6 and 5 of 9 s."""
    series = beats("N" * 10, 1000, unread=[Unread(4000, 6000, "motion")])
    found = measures_of(replace(series, rhythm=[RhythmEpisode(first, 11_000, "atrial fibrillation")]))["rhythm"]
    assert found["atrial fibrillation"]["percent"] == near(percent)


def test_rr_histogram_and_lorenz_plot(beats):
    """Intervals 800, 810, 400, 1200, 2500 with bins of 20 ms: 40, 40, 20, 60, and 100 for all of 2 s and more.

    They end at N, N, V, N, N. Pairs around beats 1 to 4: (40, 40) N, (40, 20) N, (20, 60) V, (60, 100) N.
    """
    told = measures_of(beats("NNNVNN", [800, 810, 400, 1200, 2500]))
    histogram = told["rr_histogram"]
    assert (histogram["bin_ms"], histogram["first_ms"]) == (20, 400)
    counts = {
        name: {20 + place: count for place, count in enumerate(one) if count}
        for name, one in histogram["counts"].items()
    }
    assert counts == {"N": {40: 2, 60: 1, 100: 1}, "V": {20: 1}}
    assert told["lorenz"]["cells"] == {"N": [[40, 20, 1], [40, 40, 1], [60, 100, 1]], "V": [[20, 60, 1]]}


def test_a_record_without_a_beat_and_one_with_one():
    empty = BeatSeries(np.array([], int), np.array([], int), 360.0, 3600, unread=[Unread(0, 3599, "flat")])
    for series in (empty, BeatSeries(np.array([100]), np.array([0]), 360.0, 3600)):
        told = measures_of(series)
        assert told["rate"] == {"mean_per_min": None, "lowest": None, "highest": None}
        assert told["longest_rr"] is None and told["hrv"]["none"]
        assert told["ventricular"]["beats"] == 0 and len(told["hours"]) == 1
    assert measures_of(empty)["ventricular"]["percent"] is None


def test_limits_are_settings_and_stand_in_the_rules(beats):
    """With runs from 4 beats on, three in a row are a couplet's longer kind; the text names the limit that holds."""
    rules = Rules(run_beats=4, pause_s=1.5, pattern_beats=4)
    v = measures_of(beats("NVVVNVNVNVN", rules=rules))["ventricular"]
    assert (v["couplets"], v["runs"]["count"], v["bigeminy"]["count"]) == (1, 0, 0)
    text = " ".join(one["rule"] for one in written_out(rules))
    assert "4 or more beats" in text and "above 1.5 s" in text
    assert all(one["source"] for one in written_out(rules))
