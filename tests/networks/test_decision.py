"""From a network's answers to the probabilities of labels: the running priors, then the temperature."""

import dataclasses

import numpy as np
import pytest

from deep_ecg.beats.templates import GROUPS
from deep_ecg.networks.decision import Decision
from deep_ecg.networks.decision_settings import DecisionSettings

SETTINGS = DecisionSettings(temperature=2.0, s_prior_weight=0.5, v_prior_weight=0.0)
N_THEN_S = np.array([[0.9, 0.04, 0.03, 0.02, 0.01], [0.35, 0.55, 0.05, 0.03, 0.02]])


def random_beats(count: int = 100) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    proba, groups = rng.dirichlet(np.ones(5), count).astype(np.float32), rng.integers(-GROUPS, GROUPS, count)
    return proba, groups, rng.uniform(0.1, 2.0, count)


def test_the_prior_comes_before_the_temperature():
    """By hand: after one N the share of S is 0.08 - 0.08 / 300; logits are halved, so probabilities go as roots."""
    found = Decision(SETTINGS)(N_THEN_S, np.zeros(2, int), np.full(2, 0.8))
    adapted = N_THEN_S[1] * [1, (1 - 1 / 300) ** 0.5, 1, 1, 1]
    for row, proba in zip(found, (N_THEN_S[0], adapted)):
        np.testing.assert_allclose(row, np.sqrt(proba) / np.sqrt(proba).sum())


def test_the_temperature_has_no_say_in_the_labels_and_so_in_no_later_prior():
    beats = random_beats(1000)
    plain = Decision(dataclasses.replace(SETTINGS, temperature=1.0, v_prior_weight=0.5))(*beats)
    milder = Decision(dataclasses.replace(SETTINGS, v_prior_weight=0.5))(*beats)
    assert np.array_equal(milder.argmax(axis=1), plain.argmax(axis=1))
    np.testing.assert_allclose(milder, np.sqrt(plain) / np.sqrt(plain).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("size", [1, 7, 100])
def test_the_chunks_change_nothing(size):
    beats = random_beats()
    decision = Decision(SETTINGS)
    chunks = [decision(*(one[i : i + size] for one in beats)) for i in range(0, 100, size)]
    assert np.array_equal(np.concatenate(chunks), Decision(SETTINGS)(*beats))
