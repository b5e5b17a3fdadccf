"""Two leads of one beat: by whose answer it is labelled, and which of both the network is asked for."""

import numpy as np

from config import CLASSES, Config
from deep_ecg.beats.arrays import NetworkInputs
from deep_ecg.beats.shape import P_WAVE
from deep_ecg.networks import classifier
from tests.support.networks import classifier_of, network

N, S = CLASSES.index("N"), CLASSES.index("S")


def answers_of(p_of_n: list[float]) -> NetworkInputs:
    """Beats whose first feature is the probability of N that the network below answers with, the rest being S."""
    count, settings = len(p_of_n), Config(mode="diagnostic", preset="edge")
    features = np.zeros((count, len(P_WAVE)), np.float32)
    features[:, 0] = p_of_n
    return NetworkInputs(
        np.zeros((count, 1, settings.window_samples), np.float32), features, np.zeros(count, int), np.full(count, 0.8)
    )


def probabilities(monkeypatch, first, second, heard) -> tuple[np.ndarray, list[int]]:
    """What the decision is handed of the beats, N and S, and how many beats the network was asked for at each call."""
    asked, handed = [], []

    def predict_proba(model, windows, features):
        asked.append(len(features))
        proba = np.zeros((len(features), len(CLASSES)))
        proba[:, N], proba[:, S] = features[:, 0], 1 - features[:, 0]
        return proba

    class Decision:
        def __init__(self, settings):
            pass

        def __call__(self, proba, groups, rr_s):
            handed.append(proba.copy())
            return proba

    monkeypatch.setattr(classifier, "predict_proba", predict_proba)
    monkeypatch.setattr(classifier, "Decision", Decision)
    one = classifier_of(network(), Config(mode="diagnostic", preset="edge"))
    one.answer(one.answers(), answers_of(first), answers_of(second), np.array(heard).__getitem__)
    return handed[0][:, [N, S]], asked


def test_the_mean_of_both_leads_counts_but_where_the_first_is_sure_of_n_or_the_second_unread(monkeypatch):
    found, asked = probabilities(monkeypatch, [0.95, 0.6, 0.1, 0.6], [0.1, 0.2, 0.9, 0.2], [True, True, True, False])
    np.testing.assert_allclose(found[:, 0], [0.95, 0.4, 0.5, 0.6], atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert asked == [4, 2]


def test_a_second_lead_that_no_beat_asks_for_is_not_asked(monkeypatch):
    found, asked = probabilities(monkeypatch, [0.95, 0.99], [0.1, 0.2], [True, True])
    np.testing.assert_allclose(found[:, 0], [0.95, 0.99], atol=1e-6)
    assert asked == [2]
