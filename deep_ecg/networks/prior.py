"""Running priors: what a patient's earlier beats were taken for has a say in what the next one is.

Of S: most patients have next to no S beats, those who have them often have many, so one threshold would be too bold for
the first or too cautious for the second. Where few of the latest labels were S, it takes more to call one, where many
were, less: the adjustment of a classifier to the priors of where it is used (Saerens, Latinne and Decaestecker, Neural
Computation 14:21-41, 2002), in a running form and bounded, for labels that make their like likelier could run away.

Of V: beats of one shape, a group of the patient's running templates, are mostly of one origin. What the network thought
of those before, on average, is evidence on the next.

Of the rhythm: in atrial fibrillation or flutter an early beat is no S. Where the probability that the rhythm before the
beat fibrillates (fibrillation.py) is above DOUBTED, S is the less likely, in proportion to the probability that it does
not, to the power of a weight.

Only the past and the network's own answers are used: no later beat, no reference label. The constants were chosen on
DS1 (docs/experiments.md).
"""

import math
from collections import Counter

import numpy as np

from config import CLASSES
from deep_ecg.beats.arrays import stretches_of
from deep_ecg.beats.templates import GROUPS, RunningMean
from deep_ecg.networks.decision_settings import DecisionSettings
from deep_ecg.networks.fibrillation import FibrillationNetwork, FibrillationWatch

S, V, F = (CLASSES.index(name) for name in "SVF")
REST = [k for k in range(len(CLASSES)) if k not in (S, V, F)]

DOUBTED = 0.6  # probability of fibrillation up to which S stays as likely: frequent S beats are irregular, too

MEMORY_BEATS = 300  # labels from which the share of S is
SHARE_RANGE = (0.01, 0.3)  # one beyond it counts as its end: no patient is given up, and no share runs away

GROUP_BEATS = 200  # of one shape, over which the mean of the network's log odds of V is taken
START_BEATS = 3  # with log odds of 0, as many as stand at the start of each group
ODDS_RANGE = (0.05, 0.95)  # a probability beyond it counts as its end in log odds: no beat outweighs many


class RunningPrior:
    """The priors of one patient, whose beats come in order of time; how far they count is set by `settings`."""

    def __init__(self, settings: DecisionSettings):
        self._s_weight, self._v_weight = settings.s_prior_weight, settings.v_prior_weight
        self._share = self._usual_share = settings.s_usual_share
        self._of_groups = [_MeanLogOdds(0.0, START_BEATS, GROUP_BEATS) for _ in range(GROUPS)]
        self._rhythm_weight = settings.rhythm_weight
        self._rhythm = FibrillationWatch(FibrillationNetwork.load()) if settings.rhythm_weight else None

    def __call__(self, proba: np.ndarray, groups: np.ndarray, rr_s: np.ndarray) -> np.ndarray:
        """The network's probabilities (n, classes) of the next n beats, as the beats before each make them, float64.

        groups (n,) and rr_s (n,) are those of `NetworkInputs`.
        """
        adapted = np.asarray(proba, float).copy()
        rivals = adapted[:, REST].max(axis=1).tolist()
        beats = zip(groups.tolist(), *adapted[:, (S, V, F)].T.tolist(), rivals, rr_s.tolist())
        factors = [self._factors(*beat) for beat in beats]
        if factors:
            adapted[:, (S, V)] *= factors
        return adapted / adapted.sum(axis=1, keepdims=True)

    def _factors(
        self, group: int, of_s: float, of_v: float, of_f: float, rival: float, rr_s: float
    ) -> tuple[float, float]:
        """What the probabilities `of_s` and `of_v` are multiplied by; `rival` is the highest of N and Q."""
        s_factor, v_factor = self._s_factor(), self._v_factor(group, of_v)
        of_s, of_v = of_s * s_factor, of_v * v_factor
        called_s = of_s > max(rival, of_v, of_f)
        self._share += (called_s - self._share) / MEMORY_BEATS
        if self._rhythm:
            self._rhythm.step(rr_s, is_v=max(of_v, of_f) > max(rival, of_s))
        return s_factor, v_factor

    def _s_factor(self) -> float:
        share = min(max(self._share, SHARE_RANGE[0]), SHARE_RANGE[1])
        factor = (share / self._usual_share) ** self._s_weight
        if self._rhythm and self._rhythm.proba > DOUBTED:
            factor *= ((1 - self._rhythm.proba) / (1 - DOUBTED)) ** self._rhythm_weight
        return factor

    def _v_factor(self, group: int, of_v: float) -> float:
        if group < 0:  # started anew by this beat
            group = ~group
            self._of_groups[group] = _MeanLogOdds(0.0, START_BEATS, GROUP_BEATS)
        factor = math.exp(self._v_weight * self._of_groups[group].mean)
        self._of_groups[group].add(of_v)
        return factor


class _MeanLogOdds(RunningMean):
    """The running mean of the log odds of probabilities."""

    def add(self, proba: float):
        proba = min(max(proba, ODDS_RANGE[0]), ODDS_RANGE[1])
        super().add(math.log(proba / (1 - proba)))


def with_running_prior(
    proba: np.ndarray, groups: np.ndarray, rr_s: np.ndarray, records: np.ndarray, settings: DecisionSettings
) -> np.ndarray:
    """`proba` (n, classes) as the RunningPrior of each of `records` (n,) makes them; each record in order of time."""
    adapted, stretches = np.empty(proba.shape), stretches_of(records)
    left, priors = Counter(name for name, *_ in stretches), dict[str, RunningPrior]()
    for name, first, end in stretches:
        prior = priors.pop(name, None) or RunningPrior(settings)
        part = slice(first, end)
        adapted[part] = prior(proba[part], groups[part], rr_s[part])
        left[name] -= 1
        if left[name]:
            priors[name] = prior
    return adapted
