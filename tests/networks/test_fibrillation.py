"""Fibrillation from the rhythm: inputs by hand, torch's own recurrent unit, episodes by hand."""

import json
import math
from functools import partial

import numpy as np
import pytest
import torch

from deep_ecg.networks import fibrillation
from deep_ecg.networks.fibrillation import (
    INPUTS,
    PARTS,
    Episode,
    FibrillationNetwork,
    FibrillationWatch,
    find_episodes,
    known_intervals,
    rhythm_annotations,
    rhythm_inputs,
)
from tests.support.records import refused

NAN = math.nan


def random_network(hidden: int = 5, seed: int = 0) -> tuple[FibrillationNetwork, torch.nn.GRU, torch.nn.Linear]:
    torch.manual_seed(seed)
    unit, output = torch.nn.GRU(INPUTS, hidden, batch_first=True).double(), torch.nn.Linear(hidden, 1).double()
    weights = (unit.weight_ih_l0, unit.weight_hh_l0, unit.bias_ih_l0, unit.bias_hh_l0, output.weight[0], output.bias[0])
    return FibrillationNetwork(*(part.detach().numpy() for part in weights)), unit, output


def rhythm(beats: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rr_s = np.concatenate(([NAN], rng.uniform(0.1, 3.2, beats - 1)))
    return rr_s, rng.random(beats) < 0.1


def test_inputs_by_hand():
    inputs, log_2 = rhythm_inputs(np.array([0.8, 0.4, 0.5])), math.log(2)
    assert inputs[:, 0] == pytest.approx([0, -log_2 / 0.4, math.log(0.5 / 0.8) / 0.4])
    assert inputs[:, 1] == pytest.approx([0, -3 * log_2, 3 * math.log(1.25)])
    assert inputs[:, 2] == pytest.approx(np.abs(inputs[:, 1]))
    assert rhythm_inputs(np.array([2.4, 0.8]))[1, 1] == -3  # a step to a third, kept within that to 1/e


def test_intervals_to_and_from_v_and_out_of_range_are_none():
    rr_s = np.array([NAN, 0.8, 0.5, 1.1, 0.8, 0.1, 3.5, 0.8])
    is_v = np.array([0, 0, 1, 0, 0, 0, 0, 0], bool)
    assert known_intervals(rr_s, is_v).tolist() == pytest.approx([NAN, 0.8, NAN, NAN, 0.8, NAN, NAN, 0.8], nan_ok=True)
    assert len(known_intervals(np.empty(0), np.empty(0, bool))) == 0


def test_probabilities_are_those_of_torchs_recurrent_unit():
    network, unit, output = random_network()
    rr_s, is_v = rhythm(300)
    intervals_s = known_intervals(rr_s, is_v)
    inputs = torch.from_numpy(rhythm_inputs(intervals_s[np.isfinite(intervals_s)]))
    with torch.no_grad():
        expected = torch.sigmoid(output(unit(inputs[None])[0]))[0, :, 0].numpy()
    told = FibrillationWatch(network).steps(rr_s, is_v)
    assert np.allclose(told[np.isfinite(intervals_s)], expected, atol=1e-12)


def test_where_there_is_no_interval_the_probability_stays():
    network, *_ = random_network()
    told = FibrillationWatch(network).steps(np.array([NAN, 0.8, 0.5, 1.1, 0.8]), np.array([0, 0, 1, 0, 0], bool))
    assert told[1] == told[2] == told[3] and len(set(told.tolist())) == 3
    assert told[0] == pytest.approx(1 / (1 + math.exp(-float(network.output_bias))))


@pytest.mark.parametrize("cuts", [(1,), (10, 11, 250), (150, 150)])
def test_however_the_beats_are_divided_the_probabilities_are_the_same(cuts):
    network, *_ = random_network()
    rr_s, is_v = rhythm(300)
    watch = FibrillationWatch(network)
    parts = [watch.steps(*pair) for pair in zip(np.split(rr_s, cuts), np.split(is_v, cuts))]
    assert np.array_equal(np.concatenate(parts), FibrillationWatch(network).steps(rr_s, is_v))


def test_it_is_causal_and_without_beats_tells_nothing():
    rr_s, is_v = rhythm(50)
    network, *_ = random_network()
    whole = FibrillationWatch(network).steps(rr_s, is_v)
    assert np.array_equal(FibrillationWatch(network).steps(rr_s[:30], is_v[:30]), whole[:30])
    assert len(FibrillationWatch(network).steps(np.empty(0), np.empty(0, bool))) == 0


@pytest.mark.parametrize("part", PARTS)
def test_a_file_that_holds_no_network_is_one_line(part, tmp_path):
    network, *_ = random_network()
    weights = {name: getattr(network, name).tolist() for name in PARTS}
    path = tmp_path / "rhythm.json"
    path.write_text(json.dumps({"weights": weights}))
    assert np.array_equal(FibrillationNetwork.load(path).recurrent, network.recurrent)
    for number, spoiled in enumerate([[weights[part]] * 2, [], "weights", None]):
        other = tmp_path / f"{number}.json"
        other.write_text(json.dumps({"weights": weights | {part: spoiled}}))
        refused(partial(FibrillationNetwork.load, other), other, "no network of the rhythm")
    refused(lambda: FibrillationNetwork.load(tmp_path / "none.json"), "none.json")


# Episodes ------------------------------------------------------------------------------------------------------------


def probabilities(*runs: tuple[int, float]) -> np.ndarray:
    return np.concatenate([np.full(beats, value) for beats, value in runs])


def test_an_episode_begins_and_ends_some_beats_before_it_is_told():
    proba = probabilities((100, 0.1), (50, 0.9), (100, 0.2))
    samples = 100 * np.arange(250)
    assert find_episodes(samples, proba, back_beats=0) == [Episode(10_000, 15_000, 50)]
    assert find_episodes(samples, proba, back_beats=10) == [Episode(9_000, 14_000, 50)]


def test_short_gaps_are_closed_and_short_episodes_left_out():
    samples = np.arange(250)
    two = probabilities((50, 0), (30, 1), (10, 0), (30, 1), (130, 0))
    assert find_episodes(samples, two, 0) == [Episode(50, 120, 70)]
    assert find_episodes(samples, probabilities((50, 0), (19, 1), (181, 0)), 0) == []
    close = probabilities((50, 0), (12, 1), (5, 0), (12, 1), (171, 0))
    assert find_episodes(samples, close, 0) == [Episode(50, 79, 29)]


@pytest.mark.parametrize(
    "gap, found", [(49, [Episode(50, 159, 109)]), (50, [Episode(50, 80, 30), Episode(130, 160, 30)])]
)
def test_episodes_with_fewer_than_50_beats_between_them_are_one(gap, found):
    proba = probabilities((50, 0), (30, 1), (gap, 0), (30, 1), (100, 0))
    assert find_episodes(np.arange(len(proba)), proba, 0) == found


@pytest.mark.parametrize("beats, fewest", [(13, 12), (30, 15), (35, 17), (40, 20), (1000, 20)])
def test_in_a_short_recording_half_of_its_beats_are_an_episode(beats, fewest):
    samples = np.arange(beats)
    for inside, expected in ((fewest, [Episode(0, fewest, fewest)]), (fewest - 1, [])):
        assert find_episodes(samples, probabilities((inside, 1), (beats - inside, 0)), 0) == expected


def test_episodes_at_the_edges_of_a_record():
    samples = np.arange(100)
    assert find_episodes(samples, np.ones(100)) == [Episode(0, 99, 99)]
    assert find_episodes(samples, probabilities((60, 0), (40, 1)), 10) == [Episode(50, 99, 49)]
    assert find_episodes(samples, probabilities((40, 1), (60, 0)), 10) == [Episode(0, 30, 30)]
    assert find_episodes(samples, np.zeros(100)) == []
    assert find_episodes(np.empty(0, int), np.empty(0)) == []


def test_episodes_of_a_record_are_told_by_its_peaks_labels_and_gaps():
    """Five minutes of order, then without: the episode begins within 30 beats of where it does; V and gaps are none."""
    parts = [simulated(kind, 400)[0] for kind in ("sinus", "fibrillation")]
    samples = np.round(250 * np.cumsum(np.concatenate(parts))).astype(int)
    (episode,) = fibrillation.episodes_of_record(samples, 250.0, np.zeros(800, int))
    assert abs(np.searchsorted(samples, episode.start) - 400) <= 30 and episode.end == samples[-1]
    assert fibrillation.episodes_of_record(samples[:400], 250.0, np.zeros(400, int)) == []


def test_p_waves_decide_what_few_intervals_leave_open_and_hardly_what_many_do():
    """Odds by hand: in half a minute times exp(10 * (0.3 - 0.5)), in ten times the minute a tenth of that."""
    proba = np.array([0.5, 0.9])
    short = fibrillation.doubted_by_p_waves(proba, np.array([0.4, 0.6]), 30.0)
    np.testing.assert_allclose(short / (1 - short), np.array([1, 9]) * np.exp(-2), rtol=1e-6)
    np.testing.assert_array_equal(short, fibrillation.doubted_by_p_waves(proba, np.array([0.4, 0.6]), 60.0))
    long = fibrillation.doubted_by_p_waves(proba, np.array([0.4, 0.6]), 600.0)
    np.testing.assert_allclose(long / (1 - long), np.array([1, 9]) * np.exp(-0.2), rtol=1e-6)


def test_a_short_irregular_recording_with_clear_p_waves_does_not_fibrillate():
    """Forty beats without order: an episode where P waves are unlike, none where all are alike; V are not asked."""
    samples = np.round(250 * np.cumsum(simulated("fibrillation", 40)[0])).astype(int)
    labels, gaps = np.zeros(40, int), np.zeros(40, bool)
    unlike, alike = np.zeros(40), np.full(40, 0.95)
    assert len(fibrillation.episodes_of_record(samples, 250.0, labels, gaps, unlike)) == 1
    assert fibrillation.episodes_of_record(samples, 250.0, labels, gaps, alike) == []
    is_v = np.arange(40) % 20 == 19
    told = fibrillation.episodes_of_record(samples, 250.0, np.where(is_v, 2, 0), gaps, np.where(is_v, 1e3, unlike))
    assert len(told) == 1


def test_of_too_few_intervals_no_rhythm_is_told():
    """12 beats have 11 intervals, 13 have the 12 that are needed; intervals to V and across gaps are none."""
    samples, labels = 200 * np.arange(13), np.zeros(13, int)
    assert fibrillation.episodes_of_record(samples[:12], 250.0, labels[:12]) is None
    assert fibrillation.episodes_of_record(samples, 250.0, labels) == []
    assert fibrillation.episodes_of_record(samples, 250.0, np.where(samples == 800, 2, labels)) is None
    assert fibrillation.episodes_of_record(samples, 250.0, labels, samples == 800) is None


def test_annotations_name_the_rhythm_from_its_first_beat_on():
    samples = np.arange(10, 1000, 10)
    assert rhythm_annotations(samples, []) == [(10, "(N")]
    assert rhythm_annotations(samples, [(10, 500)]) == [(10, "(AFIB"), (500, "(N")]
    both = [(100, 200), (400, 990)]
    assert rhythm_annotations(samples, both) == [(10, "(N"), (100, "(AFIB"), (200, "(N"), (400, "(AFIB")]
    assert rhythm_annotations(np.empty(0, int), []) == []


# The network that ships ----------------------------------------------------------------------------------------------


def simulated(kind: str, beats: int = 400, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """RR intervals (beats,) of a regular rhythm, of a trigeminy of V, and of one without any order; which are V."""
    rng = np.random.default_rng(seed)
    is_v = np.zeros(beats, bool)
    if kind == "fibrillation":
        return rng.gamma(12, 0.65 / 12, beats), is_v
    rr_s = 0.8 + 0.02 * rng.standard_normal(beats)
    if kind == "trigeminy":
        is_v[2::3] = True
        rr_s[2::3], rr_s[3::3] = 0.5, 1.1
    return rr_s, is_v


@pytest.mark.parametrize("kind, fibrillates", [("sinus", False), ("trigeminy", False), ("fibrillation", True)])
def test_the_network_that_ships_tells_simple_rhythms(kind, fibrillates):
    rr_s, is_v = simulated(kind)
    told = fibrillation.fibrillation(rr_s, is_v)[50:] >= fibrillation.SURE
    assert told.mean() == pytest.approx(float(fibrillates), abs=0.05)
