"""Training of the network of the rhythm: what teaches it, and its scores, by hand."""

import numpy as np
import pytest

from deep_ecg.records.rhythms import RhythmRecord
from experiments import rhythm
from experiments.rhythm import (
    Taught,
    beat_scores,
    episode_scores,
    of_recording,
    of_rhythms,
    recording_scores,
    stretches,
)


def patient(name: str, fibrillating: bool, beats: int = 600, seed: int = 0) -> Taught:
    """Beats every 0.8 s, or without any order, which is told to be fibrillation."""
    rng = np.random.default_rng(seed)
    rr_s = rng.gamma(12, 0.65 / 12, beats) if fibrillating else 0.8 + 0.01 * rng.standard_normal(beats)
    return Taught(name, np.cumsum(rr_s), np.zeros(beats, bool), np.full(beats, fibrillating), np.ones(beats, bool))


@pytest.fixture(scope="module")
def network():
    """One that has learned from two made-up patients of each database, in a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rhythm, "STEPS", 60)
        both = [patient("a", False), patient("b", True)]
        return rhythm.train(dict.fromkeys(rhythm.TAUGHT_BY, both), seed=0)


def test_a_patient_of_a_database_teaches_what_is_known_of_each_beat():
    record = RhythmRecord(
        "7", np.arange(5) * 0.8, np.array(list("NVNFN")), np.array(["AFIB", "AFIB/AFL", "SVTA", "N", ""])
    )
    taught = of_rhythms(record)
    assert taught.is_v.tolist() == [False, True, False, True, False]
    assert taught.fibrillates.tolist() == [True, True, False, False, False]
    assert taught.known.tolist() == [True, True, False, True, False]
    assert np.isnan(taught.rr_s[0]) and taught.rr_s[1:].tolist() == pytest.approx([0.8] * 4)


@pytest.mark.parametrize("label, fibrillates", [("A", True), ("N", False), ("O", False)])
def test_all_beats_of_a_recording_are_of_its_label(label, fibrillates):
    taught = of_recording("A00001", np.arange(4.0), label)
    assert taught.fibrillates.tolist() == [fibrillates] * 4 and taught.known.all() and not taught.is_v.any()


def test_stretches_hold_every_beat_once_and_nothing_is_known_of_what_fills_the_last():
    found = stretches([patient("a", True, beats=rhythm.STRETCH_BEATS + 10), patient("b", True, beats=5)])
    assert found.shape == (3, rhythm.STRETCH_BEATS, rhythm.INPUTS + 2)
    assert found[..., -1].sum(axis=1).tolist() == [rhythm.STRETCH_BEATS, 9, 4]  # the first beat ends no interval
    assert not found[1, 9:].any()


def test_it_learns_what_is_simple_and_the_same_seed_learns_the_same(network):
    scores = beat_scores(network, [patient("c", False, seed=1), patient("d", True, seed=2)])
    assert scores["found"] + scores["missed"] == scores["false"] + scores["quiet"] == 600
    assert scores["found"] > 500 and scores["false"] < 60
    assert np.array_equal(network.output, network.output.round(rhythm.DECIMALS))


def test_what_is_not_known_is_not_scored(network):
    unknown = patient("c", False)
    unknown.known[:] = False
    assert sum(beat_scores(network, [unknown]).values()) == 0


def test_episodes_are_those_after_the_first_five_minutes(network):
    counts = episode_scores(network, [patient("d", True, beats=1200, seed=2), patient("c", False, seed=1)])
    assert (counts["reference"], counts["found"], counts["test"], counts["right"]) == (1, 1, 1, 1)
    assert counts["found_s"] == pytest.approx(patient("d", True, beats=1200, seed=2).times_s[-1] - 300, abs=1)


def test_recordings_of_class_a_against_the_rest(network):
    recordings = [patient("a", True, 60, 3), patient("b", False, 60, 4), patient("c", False, 5, 5)]
    report = recording_scores(network, recordings)
    assert (report["n"], report["a"]) == (3, 1) and report["f1"]["0.5"] == 1.0
