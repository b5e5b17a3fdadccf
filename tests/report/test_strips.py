"""Which strips a report shows."""

import numpy as np
import pytest

from deep_ecg.report.episodes import episodes_of
from deep_ecg.report.strips import LEAD_IN_S, strips_of


def titles(series) -> dict[str, float]:
    found = strips_of(series, episodes_of(series))
    return {title: strip.start_s for strip in found for title in strip.titles}


def test_extremes_and_firsts(beats):
    """200 beats 0.8 s apart: the run of V is at beats 100-102, fastest and only; the pause of 3 s ends at beat 150.

    Beat 100 is at 1 + 100 * 0.8 = 81 s. Beat 149, before the pause, at 120.2 s. The single S is beat 30, at 25 s.
    """
    letters = "N" * 30 + "S" + "N" * 69 + "VVV" + "N" * 97
    rr_ms = np.full(199, 800)
    rr_ms[149] = 3000
    told = titles(beats(letters, rr_ms))
    assert told["fastest V run, 3 beats at 75/min"] == pytest.approx(81 - LEAD_IN_S) == told["first V run"]
    assert told["longest RR, 3.00 s"] == pytest.approx(120.2 - LEAD_IN_S) == told["first pause"]
    assert told["first single S"] == pytest.approx(25 - LEAD_IN_S)


def test_least_sure_beats_are_apart(beats):
    """Of beats 20, 21 (0.8 s later), 60 and 100, the least sure ones, beat 21 is too near to the surer 20."""
    proba = np.full(120, 0.9)
    proba[[20, 21, 60, 100, 110]] = 0.30, 0.31, 0.32, 0.33, 0.34
    told = titles(beats("N" * 120, probability=proba))
    at_s = [round(told[f"least sure, {percent} % N"] + LEAD_IN_S, 1) for percent in (30, 32, 33)]
    assert at_s == [17, 49, 81] and "least sure, 31 % N" not in told and "least sure, 34 % N" not in told


def test_events_near_one_another_share_a_strip_and_none_leaves_the_record(beats):
    series = beats("VNNNNNNNNNNN")
    strips = strips_of(series, episodes_of(series))
    assert strips[0].start_s == 0 and sum("first single V" in strip.titles for strip in strips) == 1
    assert all(0 <= strip.start_s <= series.duration_s - 7.2 for strip in strips)


def test_a_long_pause_is_shown_to_its_end(beats):
    """Beats at 1, 1.8, ..., 9 s; a pause of 9 s; then more: the end is at 18 s."""
    told = titles(beats("N" * 30, [800] * 10 + [9000] + [800] * 18))
    assert told["end of the longest RR"] == pytest.approx(18 - 2 * LEAD_IN_S)


def test_without_a_beat_there_is_no_strip(beats):
    series = beats("NN", counted=np.zeros(2, bool))
    assert strips_of(series, episodes_of(series)) == []
