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
    burden,
    find_episodes,
    known_intervals,
    rhythm_annotations,
    rhythm_inputs,
)
from tests.support.records import refused

NAN = math.nan


def random_network(hidden: int = 5, seed: int = 0) -> tuple[FibrillationNetwork, torch.nn.GRU, torch.nn.Linear]:
    torch.manual_seed(seed)
    unit, output = torch.nn.GRU(INPUTS, hidden, batch_first=True).double(), torch.nn.Linear(hidden, 2).double()
    weights = (unit.weight_ih_l0, unit.weight_hh_l0, unit.bias_ih_l0, unit.bias_hh_l0, output.weight, output.bias)
    return FibrillationNetwork(*(part.detach().numpy() for part in weights)), unit, output


def rhythm(beats: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rr_s = np.concatenate(([NAN], rng.uniform(0.1, 3.2, beats - 1)))
    return rr_s, rng.random(beats) < 0.1


def test_inputs_by_hand():
    inputs = rhythm_inputs(np.array([NAN, 0.8, 0.4, 0.5]), np.zeros(4, bool))
    log_2 = math.log(2)
    assert inputs[:, 0] == pytest.approx([0, 0, -log_2 / 0.4, math.log(0.5 / 0.8) / 0.4])
    assert inputs[:, 1] == pytest.approx([0, 0, -3 * log_2, 3 * math.log(1.25)])
    assert inputs[:, 2] == pytest.approx(np.abs(inputs[:, 1]))
    assert inputs[:, 3].tolist() == [1, 1, 0, 0]


def test_intervals_to_and_from_v_and_out_of_range_are_none():
    rr_s = np.array([NAN, 0.8, 0.5, 1.1, 0.8, 0.1, 3.5, 0.8])
    is_v = np.array([0, 0, 1, 0, 0, 0, 0, 0], bool)
    assert known_intervals(rr_s, is_v).tolist() == pytest.approx([NAN, 0.8, NAN, NAN, 0.8, NAN, NAN, 0.8], nan_ok=True)
    assert np.isnan(known_intervals(np.array([0.8]), np.array([False]), was_v=True)).all()
    assert len(known_intervals(np.empty(0), np.empty(0, bool), was_v=True)) == 0


def test_probabilities_are_those_of_torchs_recurrent_unit():
    network, unit, output = random_network()
    rr_s, is_v = rhythm(300)
    with torch.no_grad():
        expected = torch.sigmoid(output(unit(torch.from_numpy(rhythm_inputs(rr_s, is_v))[None])[0]))[0].numpy()
    assert np.allclose(FibrillationWatch(network).steps(rr_s, is_v), expected, atol=1e-12)


@pytest.mark.parametrize("cuts", [(1,), (10, 11, 250), (150, 150)])
def test_however_the_beats_are_divided_the_probabilities_are_the_same(cuts):
    network, *_ = random_network()
    rr_s, is_v = rhythm(300)
    watch = FibrillationWatch(network)
    parts = [watch.steps(*pair) for pair in zip(np.split(rr_s, cuts), np.split(is_v, cuts))]
    assert np.allclose(np.concatenate(parts), FibrillationWatch(network).steps(rr_s, is_v), rtol=0, atol=1e-12)


def test_with_a_beat_of_lag_each_beat_is_told_of_after_the_next(monkeypatch):
    network, *_ = random_network()
    monkeypatch.setattr(FibrillationNetwork, "load", lambda: network)
    rr_s, is_v = rhythm(50)
    after = FibrillationWatch(network).steps(rr_s, is_v)
    assert np.array_equal(fibrillation.fibrillation(rr_s, is_v, lag=False), after[:, 0])
    assert np.array_equal(fibrillation.fibrillation(rr_s, is_v), [*after[1:, 1], after[-1, 0]])
    assert len(fibrillation.fibrillation(np.empty(0), np.empty(0, bool))) == 0


@pytest.mark.parametrize("part", PARTS)
def test_a_file_that_holds_no_network_is_one_line(part, tmp_path):
    network, *_ = random_network()
    weights = {name: getattr(network, name).tolist() for name in PARTS}
    path = tmp_path / "rhythm.json"
    path.write_text(json.dumps({"weights": weights}))
    assert np.array_equal(FibrillationNetwork.load(path).recurrent, network.recurrent)
    for number, spoiled in enumerate([weights[part][:-1], [], "weights", None]):
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


def test_episodes_at_the_edges_of_a_record():
    samples = np.arange(100)
    assert find_episodes(samples, np.ones(100)) == [Episode(0, 99, 99)]
    assert find_episodes(samples, probabilities((60, 0), (40, 1)), 10) == [Episode(50, 99, 49)]
    assert find_episodes(samples, probabilities((40, 1), (60, 0)), 10) == [Episode(0, 30, 30)]
    assert find_episodes(samples, np.zeros(100)) == []
    assert find_episodes(np.empty(0, int), np.empty(0)) == []


def test_annotations_name_the_rhythm_from_its_first_beat_on():
    samples = np.arange(10, 1000, 10)
    assert rhythm_annotations(samples, []) == [(10, "(N")]
    assert rhythm_annotations(samples, [Episode(10, 500, 49)]) == [(10, "(AFIB"), (500, "(N")]
    both = [Episode(100, 200, 10), Episode(400, 990, 59)]
    assert rhythm_annotations(samples, both) == [(10, "(N"), (100, "(AFIB"), (200, "(N"), (400, "(AFIB")]
    assert rhythm_annotations(np.empty(0, int), []) == []


def test_the_burden_is_a_share_of_the_time():
    samples = np.array([0, 100, 400, 1000])
    assert burden(samples, [Episode(100, 400, 1)]) == pytest.approx(0.3)
    assert burden(samples, []) == 0.0 == burden(np.empty(0, int), []) == burden(np.array([5]), [])


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
