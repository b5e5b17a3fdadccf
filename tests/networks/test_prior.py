"""The running priors of S and V: expected values by hand."""

from dataclasses import replace

import numpy as np
import pytest

from config import Config
from deep_ecg.beats.templates import GROUPS
from deep_ecg.networks import prior
from deep_ecg.networks.decision_settings import DecisionSettings
from deep_ecg.networks.fibrillation import FibrillationNetwork, FibrillationWatch
from deep_ecg.networks.prior import RunningPrior, with_running_prior
from deep_ecg.system.errors import DeepECGError

USUAL = DecisionSettings.of(Config())
OPEN = replace(USUAL, rhythm_weight=1.0)  # as in the open protocol
OFF = replace(USUAL, s_prior_weight=0, v_prior_weight=0)
S_ALONE, V_ALONE = replace(OFF, s_prior_weight=0.5), replace(OFF, v_prior_weight=0.5)
SURE_N = np.array([0.9, 0.04, 0.03, 0.02, 0.01])
SURE_S = np.array([0.05, 0.9, 0.03, 0.01, 0.01])
LIKELY_S = np.array([0.35, 0.55, 0.05, 0.03, 0.02])
SURE_F = np.array([0.05, 0.02, 0.1, 0.82, 0.01])
MAYBE_V = np.array([0.5, 0.05, 0.4, 0.03, 0.02])
RATHER_V = np.array([0.15, 0.02, 0.8, 0.02, 0.01])  # odds of V: 4
RATHER_N = np.array([0.7, 0.05, 0.2, 0.03, 0.02])  # odds of V: 1/4


def adapted(settings: DecisionSettings, *proba: np.ndarray, groups: list[int] | None = None) -> np.ndarray:
    groups = [0] * len(proba) if groups is None else groups
    return RunningPrior(settings)(np.stack(proba), np.array(groups), np.full(len(proba), 0.8))


def with_factor(proba: np.ndarray, of_class: int, factor: float) -> np.ndarray:
    changed = proba * np.where(np.arange(5) == of_class, factor, 1)
    return changed / changed.sum()


def random_beats(count: int = 100) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    proba, groups = rng.dirichlet(np.ones(5), count).astype(np.float32), rng.integers(-GROUPS, GROUPS, count)
    return proba, groups, rng.uniform(0.1, 2.0, count)


def test_the_first_beat_stays_as_the_network_gives_it():
    np.testing.assert_allclose(adapted(USUAL, LIKELY_S)[0], LIKELY_S)
    np.testing.assert_allclose(adapted(USUAL, MAYBE_V, groups=[~0])[0], MAYBE_V)


# S: the share of S among the latest 300 labels, from 0.08 at the start, over 0.08, to the power of the weight


def test_the_second_beat_goes_by_the_label_of_the_first():
    for first, share in ((SURE_N, 0.08 - 0.08 / 300), (SURE_S, 0.08 + 0.92 / 300)):
        found = adapted(S_ALONE, first, LIKELY_S)[1]
        np.testing.assert_allclose(found, with_factor(LIKELY_S, 1, (share / 0.08) ** 0.5))


def test_no_s_beats_make_one_less_likely_and_many_likelier_within_bounds():
    """The share counts for 0.01 at least and for 0.3 at most: S by 1 / sqrt(8) or by sqrt(3.75)."""
    never, often = (adapted(S_ALONE, *[before] * 3000, LIKELY_S)[-1] for before in (SURE_N, SURE_S))
    assert never.argmax() == 0
    np.testing.assert_allclose(never, with_factor(LIKELY_S, 1, 8**-0.5))
    np.testing.assert_allclose(often, with_factor(LIKELY_S, 1, 3.75**0.5))
    maybe_s = np.array([0.55, 0.35, 0.05, 0.03, 0.02])
    assert adapted(S_ALONE, *[SURE_S] * 3000, maybe_s)[-1].argmax() == 1
    assert adapted(S_ALONE, *[SURE_S] * 3000, SURE_N)[-1].argmax() == 0  # a clear one is N whatever came before
    assert adapted(S_ALONE, *[SURE_N] * 3000, SURE_S)[-1].argmax() == 1  # a clear one is S whatever came before


def test_the_labels_that_count_are_its_own():
    """S to the network, but not after many N, and so it stays however many come."""
    assert (adapted(S_ALONE, *[SURE_N] * 3000, *[LIKELY_S] * 3000)[3000:].argmax(axis=1) == 0).all()
    assert (adapted(S_ALONE, *[LIKELY_S] * 3000).argmax(axis=1) == 1).all()


def test_the_usual_share_is_that_of_the_settings():
    """Where the first label is N, the share falls to that of 299 of 300 beats, whatever the usual one is."""
    found = adapted(replace(S_ALONE, s_usual_share=0.2), SURE_N, LIKELY_S)[1]
    np.testing.assert_allclose(found, with_factor(LIKELY_S, 1, (1 - 1 / 300) ** 0.5))
    ten_beats = adapted(replace(S_ALONE, s_usual_share=0.2), *[SURE_S] * 10, LIKELY_S)[-1]
    share = 1 - 0.8 * (1 - 1 / 300) ** 10
    np.testing.assert_allclose(ten_beats, with_factor(LIKELY_S, 1, (share / 0.2) ** 0.5))


# V: the mean log odds of V of the earlier beats of the group, with three of 0 before them, times the weight


def test_a_beat_goes_by_what_those_of_its_shape_were_taken_for():
    np.testing.assert_allclose(adapted(V_ALONE, RATHER_V, MAYBE_V)[1], with_factor(MAYBE_V, 2, 4 ** (0.5 / 4)))
    np.testing.assert_allclose(adapted(V_ALONE, RATHER_N, MAYBE_V)[1], with_factor(MAYBE_V, 2, 4 ** (-0.5 / 4)))
    both = adapted(V_ALONE, RATHER_V, RATHER_V, RATHER_N, MAYBE_V)[3]
    np.testing.assert_allclose(both, with_factor(MAYBE_V, 2, 4 ** (0.5 / 6)))


def test_other_shapes_do_not_count_and_a_new_one_starts_without_a_past():
    found = adapted(V_ALONE, RATHER_V, MAYBE_V, MAYBE_V, MAYBE_V, groups=[~0, ~1, ~0, 1])
    np.testing.assert_allclose(found[1:3], [MAYBE_V, MAYBE_V])
    odds = 0.4 / 0.6
    np.testing.assert_allclose(found[3], with_factor(MAYBE_V, 2, odds ** (0.5 / 4)))


def test_a_shape_that_was_v_makes_an_unsure_beat_v_and_one_that_was_not_n():
    assert adapted(V_ALONE, *[RATHER_V] * 50, MAYBE_V)[-1].argmax() == 2
    unsure = np.array([0.4, 0.05, 0.5, 0.03, 0.02])
    assert adapted(V_ALONE, *[RATHER_N] * 50, unsure)[-1].argmax() == 0


def test_no_beat_counts_for_more_than_odds_of_19():
    certain_v, certain_n = np.eye(5)[2], np.eye(5)[0]
    np.testing.assert_allclose(adapted(V_ALONE, certain_v, MAYBE_V)[1], with_factor(MAYBE_V, 2, 19 ** (0.5 / 4)))
    np.testing.assert_allclose(adapted(V_ALONE, certain_n, MAYBE_V)[1], with_factor(MAYBE_V, 2, 19 ** (-0.5 / 4)))


def test_the_mean_is_over_the_latest_200_beats_of_a_shape():
    """After very many beats each new one moves it by a 200th."""
    before, after = (adapted(V_ALONE, *[RATHER_V] * 5000, *more, MAYBE_V)[-1] for more in ([], [RATHER_N]))
    moved = np.log(before[2] / before[0]) - np.log(after[2] / after[0])
    assert moved == pytest.approx(0.5 * 2 * np.log(4) / 200, rel=1e-3)


# S in a rhythm that fibrillates: the less likely, the less the probability of that, after the beats before, leaves


@pytest.mark.parametrize("weight", [0.5, 1.0])
@pytest.mark.parametrize("doubted", [0.0, 0.4])
def test_s_is_the_less_likely_the_likelier_fibrillation_is(weight, doubted, monkeypatch):
    """The rhythm before a beat counts, not its own interval, and no interval to or from what is called V or F."""
    proba = np.stack([LIKELY_S, SURE_N, RATHER_V, SURE_N, LIKELY_S, SURE_F, LIKELY_S])
    rr_s = np.array([np.nan, 0.8, 0.5, 1.1, 0.6, 0.4, 0.9])
    watch = FibrillationWatch(FibrillationNetwork.load())
    before = [watch.proba, *watch.steps(rr_s, np.array([0, 0, 1, 0, 0, 1, 0], bool))[:-1]]
    assert len(set(before)) == 3 and before[1] == before[0] and before[2] == before[3] == before[4]
    monkeypatch.setattr(prior, "DOUBTED", doubted)
    found = RunningPrior(replace(OFF, rhythm_weight=weight))(proba, np.zeros(7, int), rr_s)
    for row, own, fibrillates in zip(found, proba, before):
        left = min((1 - fibrillates) / (1 - doubted), 1.0)
        np.testing.assert_allclose(row, with_factor(own, 1, left**weight))


def test_early_beats_are_s_in_sinus_rhythm_and_not_in_fibrillation():
    """Every fifth beat is early and S to the network: all stay S in a regular rhythm, next to none without order."""
    rng = np.random.default_rng(3)
    early = np.arange(400) % 5 == 4
    regular_s = np.where(early, 0.5, np.where(np.roll(early, 1), 1.0, 0.8)) + 0.01 * rng.standard_normal(400)
    without_order_s = rng.gamma(12, 0.65 / 12, 400)
    proba = np.where(early[:, None], LIKELY_S, SURE_N)
    for rr_s, least, most in ((regular_s, 1.0, 1.0), (without_order_s, 0.0, 0.05)):
        found = RunningPrior(replace(OFF, rhythm_weight=1.0))(proba, np.zeros(400, int), rr_s)
        assert least <= (found.argmax(axis=1)[early][10:] == 1).mean() <= most


def test_without_a_weight_no_network_of_the_rhythm_is_asked(monkeypatch):
    monkeypatch.setattr(FibrillationNetwork, "load", None)
    assert len(RunningPrior(USUAL)(*random_beats())) == 100


# Both


@pytest.mark.parametrize("size", [1, 7, 100])
def test_the_chunks_change_nothing(size):
    beats, prior = random_beats(), RunningPrior(OPEN)
    chunks = [prior(*(one[i : i + size] for one in beats)) for i in range(0, 100, size)]
    assert (np.concatenate(chunks) == RunningPrior(OPEN)(*beats)).all()


def test_a_later_beat_changes_no_earlier_one():
    beats = random_beats()
    proba, groups, rr_s = (one.copy() for one in beats)
    proba[60:], groups[60:], rr_s[60:] = SURE_S, 0, 1.3
    assert (RunningPrior(OPEN)(proba, groups, rr_s)[:60] == RunningPrior(OPEN)(*beats)[:60]).all()


def test_each_record_has_its_own_priors():
    proba = np.stack([*[SURE_N] * 1000, LIKELY_S, LIKELY_S])
    records = np.array([*["a"] * 1000, "b", "a"])
    found = with_running_prior(proba, np.zeros(1002, int), np.full(1002, 0.8), records, S_ALONE)
    np.testing.assert_allclose(found[-2], LIKELY_S)
    assert found[-1].argmax() == 0  # a record that is gone on with has kept its own


def test_probabilities_stay_probabilities():
    found = RunningPrior(replace(OPEN, s_prior_weight=1, v_prior_weight=1))(*random_beats(500))
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_weights_of_0_are_the_network_alone():
    beats = random_beats()
    np.testing.assert_allclose(RunningPrior(OFF)(*beats), beats[0], atol=1e-7)


def test_no_beat_is_no_beat():
    empty, none, no_rr_s = np.empty((0, 5)), np.empty(0, int), np.empty(0)
    assert RunningPrior(OPEN)(empty, none, no_rr_s).shape == (0, 5)
    assert with_running_prior(empty, none, no_rr_s, np.empty(0, str), OPEN).shape == (0, 5)


@pytest.mark.parametrize("name", ["s_prior_weight", "v_prior_weight", "rhythm_weight"])
@pytest.mark.parametrize("weight", [-0.1, 1.1])
def test_a_weight_that_cannot_be_is_refused(name, weight):
    with pytest.raises(DeepECGError, match=f"{name} .* from 0 .off. to 1"):
        Config(**{name: weight})
