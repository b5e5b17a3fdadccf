"""From what a network says of one patient's beats to their calibrated probabilities."""

import numpy as np

from deep_ecg.networks.decision_settings import DecisionSettings
from deep_ecg.networks.prior import RunningPrior
from deep_ecg.networks.temperature import tempered


class Decision:
    """The decision on one patient's beats, which come in order of time, any number of them at a call."""

    def __init__(self, settings: DecisionSettings):
        self._prior, self._temperature = RunningPrior(settings), settings.temperature

    def __call__(self, proba: np.ndarray, groups: np.ndarray, rr_s: np.ndarray) -> np.ndarray:
        """Calibrated probabilities (n, classes) of the next n beats, the highest of which is that of the label.

        proba (n, classes) are the network's, groups (n,) and rr_s (n,) those of `NetworkInputs`.
        """
        return tempered(self._prior(proba, groups, rr_s), self._temperature)
