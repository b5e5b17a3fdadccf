"""The grade of trust by made-up probabilities: each reason, by hand."""

import numpy as np
import pytest

from deep_ecg.labelling.trust import (
    PACED,
    Confidence,
    rates_per_min,
    rr_ms,
    short_rr,
    short_rr_line,
    speaks_of_pacing,
    trust_of,
)
from deep_ecg.system.json_files import read_json
from tests.support import ROOT


def labels(*of_label: float, times: int = 25) -> Confidence:
    """So many beats for each probability of their label; the rest is N's neighbour's."""
    return Confidence.of(np.array([[p, 1 - p, 0, 0, 0] for p in of_label] * times))


def test_a_network_that_is_sure_of_all_beats_is_trusted_without_a_word():
    found = trust_of(labels(0.99, 0.98, 0.97, 0.98), 72.0)
    assert (found.grade, found.reasons) == ("high", ())
    assert found.expected_wrong == pytest.approx(0.02)
    assert found.as_json() == {"grade": "high", "expected_wrong_percent": 2.0, "reasons": []}


def test_most_beats_below_60_percent_sure():
    found = trust_of(labels(0.51, 0.55, 0.59, 0.99), 72.0)
    assert found.grade == "low" and found.reasons[0] == "most beats below 60 % sure"
    assert found.reasons[1] == "about 34 % of the labels to be expected wrong"


def test_some_beats_below_60_percent_sure():
    found = trust_of(labels(0.55, 0.99, 0.99, 0.99, 0.99), 72.0)
    assert found.grade == "fair" and found.reasons[0] == "20 % of the beats below 60 % sure"


@pytest.mark.parametrize("p, grade", [(0.97, "high"), (0.95, "fair"), (0.88, "low")])
def test_the_expected_share_of_wrong_labels_grades(p, grade):
    assert trust_of(labels(p, p, p), 72.0).grade == grade


@pytest.mark.parametrize("share, grade", [(0.05, "high"), (0.2, "fair"), (0.4, "low")])
def test_a_record_without_beats_for_long(share, grade):
    found = trust_of(labels(0.99, 0.99), 72.0, share)
    assert found.grade == grade
    assert found.reasons == (() if grade == "high" else (f"no beats in {100 * share:.0f} % of the record",))


@pytest.mark.parametrize("rate, grade", [(25.0, "low"), (60.0, "high"), (135.0, "fair"), (240.0, "low")])
def test_heart_rates(rate, grade):
    found = trust_of(labels(0.99, 0.99), rate)
    assert found.grade == grade and (grade == "high" or f"{rate:.0f}/min" in found.reasons[0])


def test_paced_rhythm_is_named():
    assert trust_of(labels(0.99, 0.99), 72.0, paced=True).reasons == (PACED,)
    assert speaks_of_pacing(["The rhythm is PACED with a demand pacemaker."])
    assert not speaks_of_pacing(["84 F", "Digoxin"])


def test_a_record_without_a_beat():
    found = trust_of(Confidence.of(np.empty((0, 5))), None)
    assert (found.grade, found.expected_wrong, found.reasons) == ("low", 1.0, ("no beat was found",))


@pytest.mark.parametrize("beats, grade", [(1, "low"), (3, "low"), (7, "low"), (8, "fair"), (24, "fair"), (25, "high")])
def test_few_beats_are_a_reason_by_themselves(beats, grade):
    found = trust_of(labels(0.99, times=beats), 72.0)
    told = f"only {beats} beat{'s' * (beats > 1)}, too few to judge by"
    assert (found.grade, found.reasons) == (grade, () if grade == "high" else (told,))


@pytest.mark.parametrize(
    "poor, alone, grade", [(0.5, 0.3, "high"), (0.6, 0.0, "fair"), (0.9, 0.0, "low"), (0, 0.4, "low")]
)
def test_noise_and_beats_that_are_like_no_others(poor, alone, grade):
    found = trust_of(labels(0.99), 72.0, poor_share=poor, alone_share=alone)
    assert found.grade == grade
    assert len(found.reasons) == (grade != "high")
    assert all(why.startswith(("noise or lost signal at", "40 % of the beats are like none")) for why in found.reasons)


def test_intervals_that_no_heart_has_are_counted():
    assert short_rr(np.array([np.nan, 199.0, 200.0, 120.0, 800.0])) == 2
    assert short_rr_line(0) is None
    assert short_rr_line(2).startswith("2 RR intervals below 200 ms") and "1 RR interval below" in short_rr_line(1)


def test_intervals_and_rates_by_hand():
    """RR 500 and 1000 ms, then none across seven seconds, then 750 ms: rates by the known ones so far."""
    found = rr_ms(np.array([100, 150, 250, 950, 1025]), 100.0)
    assert np.array_equal(found, [np.nan, 500, 1000, np.nan, 750], equal_nan=True)
    rates = rates_per_min(found)
    assert np.isnan(rates[0]) and rates[1:] == pytest.approx([120, 80, 80, 80])
    last_eight = rates_per_min(np.array([np.nan, *[1000.0] * 8, *[500.0] * 8]))
    assert last_eight[8] == pytest.approx(60) and last_eight[-1] == pytest.approx(120)


def test_the_measured_rank_correlations_order_patients_by_their_error():
    for name, found in read_json(ROOT / "results" / "measured" / "trust.json")["sets"].items():
        assert found["rank_correlation"] >= 0.6, name
