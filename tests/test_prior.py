"""The running prior of S: expected values by hand, from the share of S among the latest labels."""

import numpy as np
import pytest

from config import Config, DeepECGError
from prior import MEMORY_BEATS, SHARE_RANGE, USUAL_SHARE, RunningPrior, with_running_prior

SURE_N = np.array([0.9, 0.04, 0.03, 0.02, 0.01])
SURE_S = np.array([0.05, 0.9, 0.03, 0.01, 0.01])
UNSURE = np.array([0.5, 0.4, 0.05, 0.03, 0.02])  # N by the network alone


def factor(share: float, weight: float) -> float:
    return (min(max(share, 0.01), 0.3) / 0.06) ** weight


def test_the_first_beat_stays_as_the_network_gives_it():
    np.testing.assert_allclose(RunningPrior(0.5)(UNSURE[None])[0], UNSURE)


def test_the_constants_are_those_of_the_experiments():
    assert (MEMORY_BEATS, USUAL_SHARE, SHARE_RANGE, Config.prior_weight) == (300, 0.06, (0.01, 0.3), 0.5)


def test_the_second_beat_goes_by_the_label_of_the_first():
    for first, is_s in ((SURE_S, 1), (SURE_N, 0)):
        share = 0.06 + (is_s - 0.06) / 300
        expected = UNSURE * [1, factor(share, 0.5), 1, 1, 1]
        np.testing.assert_allclose(RunningPrior(0.5)(np.stack([first, UNSURE]))[1], expected / expected.sum())


def test_many_s_beats_make_the_next_one_likelier_and_none_less_likely():
    often, never = (RunningPrior(0.5)(np.stack([before] * 3000 + [UNSURE]))[-1] for before in (SURE_S, SURE_N))
    assert UNSURE.argmax() == never.argmax() == 0 and often.argmax() == 1
    # S times the square roots of 0.3 / 0.06 and 0.01 / 0.06, then all to 1
    assert often[1] == pytest.approx(0.4 * 5**0.5 / (0.6 + 0.4 * 5**0.5))
    assert never[1] == pytest.approx(0.4 / 6**0.5 / (0.6 + 0.4 / 6**0.5))


def test_the_labels_that_count_are_its_own():
    """A beat that only the prior makes S keeps the prior up: 0.4 sqrt(5) > 0.5."""
    prior = RunningPrior(0.5)
    prior(np.stack([SURE_S] * 3000))
    assert (prior(np.stack([UNSURE] * 3000)).argmax(axis=1) == 1).all()


@pytest.mark.parametrize("size", [1, 7, 100])
def test_the_chunks_change_nothing(size):
    proba = np.random.default_rng(0).dirichlet(np.ones(5), 100).astype(np.float32)
    prior = RunningPrior(0.5)
    chunks = [prior(proba[start : start + size]) for start in range(0, 100, size)]
    assert (np.concatenate(chunks) == RunningPrior(0.5)(proba)).all()


def test_a_later_beat_changes_no_earlier_one():
    proba = np.random.default_rng(0).dirichlet(np.ones(5), 100)
    changed = proba.copy()
    changed[60:] = SURE_S
    assert (RunningPrior(0.5)(changed)[:60] == RunningPrior(0.5)(proba)[:60]).all()


def test_each_record_has_its_own_prior():
    proba = np.stack([SURE_S] * 1000 + [UNSURE])
    records = np.array(["a"] * 1000 + ["b"])
    np.testing.assert_allclose(with_running_prior(proba, records, 0.5)[-1], UNSURE)
    again = with_running_prior(np.concatenate([proba, UNSURE[None]]), np.append(records, "a"), 0.5)
    assert again[-1].argmax() == 1  # a record that is gone on with has kept its prior


def test_probabilities_stay_probabilities():
    proba = np.random.default_rng(1).dirichlet(np.ones(5), 500).astype(np.float32)
    adapted = RunningPrior(1.0)(proba)
    assert adapted.min() >= 0
    np.testing.assert_allclose(adapted.sum(axis=1), 1)


def test_weight_0_is_the_network_alone():
    proba = np.stack([SURE_S] * 50 + [UNSURE])
    assert RunningPrior(0)(proba) is proba


def test_no_beat_is_no_beat():
    empty = np.empty((0, 5))
    assert RunningPrior(0.5)(empty).shape == (0, 5)
    assert with_running_prior(empty, np.empty(0, str), 0.5).shape == (0, 5)


@pytest.mark.parametrize("weight", [-0.1, 1.1])
def test_a_weight_that_cannot_be_is_refused(weight):
    with pytest.raises(DeepECGError, match="prior_weight .* from 0 .off. to 1"):
        Config(prior_weight=weight)
