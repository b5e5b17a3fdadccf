"""The running prior of S: how many of a patient's latest beats were called S decides how readily the next one is.

Most patients have next to no S beats, those who have them often have many: one threshold would be too bold for the
first or too cautious for the second. It is the adjustment of a classifier to the priors of where it is used (Saerens,
Latinne and Decaestecker, Neural Computation 14:21-41, 2002), in a running form that goes by the labels given so far:
no reference label, no later beat. The constants were chosen on DS1 (docs/experiments.md).
"""

from collections import defaultdict

import numpy as np

from config import CLASSES

S = CLASSES.index("S")
OTHERS = [k for k in range(len(CLASSES)) if k != S]
MEMORY_BEATS = 300
USUAL_SHARE = 0.06  # of S among the latest labels: then, and at the start, the network's probabilities stay
SHARE_RANGE = (0.01, 0.3)  # beyond it the share counts as its end: no patient is given up, none runs away


class RunningPrior:
    """The prior of one patient, whose beats come in order of time.

    `weight` is the exponent of the share of S over the usual one, by which the probability of S is multiplied; 0: off.
    """

    def __init__(self, weight: float):
        self._weight, self._share = weight, USUAL_SHARE

    def __call__(self, proba: np.ndarray) -> np.ndarray:
        """The probabilities (n, classes) of the patient's next n beats, as the labels before each make them."""
        if self._weight == 0 or len(proba) == 0:
            return proba
        adapted = proba.astype(float)
        rivals = adapted[:, OTHERS].max(axis=1).tolist()
        adapted[:, S] *= [self._factor(*beat) for beat in zip(adapted[:, S].tolist(), rivals)]
        return adapted / adapted.sum(axis=1, keepdims=True)

    def _factor(self, of_s: float, rival: float) -> float:
        """What the probability `of_s` is multiplied by; the beat is S if it then exceeds its `rival`, the next best."""
        low, high = SHARE_RANGE
        factor = (min(max(self._share, low), high) / USUAL_SHARE) ** self._weight
        self._share += ((of_s * factor > rival) - self._share) / MEMORY_BEATS
        return factor


def with_running_prior(proba: np.ndarray, records: np.ndarray, weight: float) -> np.ndarray:
    """`proba` (n, classes) of the beats of `records` (n,), each record in order of time, with each its RunningPrior."""
    priors = defaultdict(lambda: RunningPrior(weight))
    edges = np.flatnonzero(records[1:] != records[:-1]) + 1
    parts = [priors[part[0]](rows) for part, rows in zip(np.split(records, edges), np.split(proba, edges)) if len(part)]
    return np.concatenate(parts) if parts else proba
