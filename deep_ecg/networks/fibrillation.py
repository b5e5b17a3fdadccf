"""Atrial fibrillation or flutter at every beat, told from the rhythm: a probability, and the episodes that it makes.

A gated recurrent unit (Cho et al. 2014, EMNLP) of a few numbers of memory looks at the RR intervals alone, one after
another, causally. Intervals to and from beats labelled V or F are passed over: frequent ectopic beats are irregular
too, but do not fibrillate. What it learned from is said in its file, which `python -m experiments rhythm` writes.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np

from config import CLASSES
from deep_ecg.beats.arrays import each
from deep_ecg.beats.rhythm import rr_intervals
from deep_ecg.beats.signal_watch import stretches
from deep_ecg.networks.trained_on import PRETRAINED
from deep_ecg.system.errors import DeepECGError

WEIGHTS = PRETRAINED / "rhythm.json"
RR_RANGE_S = (0.2, 3.0)  # an interval outside it is none
USUAL_RR_S, SPREAD = 0.8, 0.4  # by which the logarithm of an interval is scaled
STEP_SCALE = 3.0  # of the logarithm of an interval over the one before
INPUTS = 3  # of a beat: interval, its step from the last one, and how large that is
VENTRICULAR = (CLASSES.index("V"), CLASSES.index("F"))  # labels of beats whose intervals say nothing of the atria
PARTS = ("input", "recurrent", "input_bias", "recurrent_bias", "output", "output_bias")

SURE = 0.5  # probability from which a beat counts as fibrillating
FEWEST_INTERVALS = 12  # to judge a rhythm by
P_WAVES_S = 60.0  # a recording so long or shorter is judged by its P waves, too; the longer, the less
P_WEIGHT = 10.0  # of the correlation of P waves, in log odds of fibrillation
P_USUAL = 0.3  # the mean correlation of P waves that speaks neither for it nor against it
FEWEST_BEATS = 20  # of an episode; in a recording of seconds half of its beats are enough, if FEWEST_INTERVALS or more
GAP_BEATS = 50  # between two episodes; with fewer they are one, for what fibrillates may conduct regularly for a while
BACK_BEATS = 16  # by so many beats an episode begins, and ends, before it is told: it takes them to be sure


@dataclass(frozen=True)
class FibrillationNetwork:
    """Weights of the recurrent unit, in the order of torch.nn.GRU (reset, update, new), and of its output."""

    input: np.ndarray  # (3 hidden, INPUTS)
    recurrent: np.ndarray  # (3 hidden, hidden)
    input_bias: np.ndarray  # (3 hidden,)
    recurrent_bias: np.ndarray  # (3 hidden,)
    output: np.ndarray  # (hidden,)
    output_bias: np.ndarray  # ()

    def __post_init__(self):
        hidden = self.recurrent.shape[-1]
        shapes = [(3 * hidden, INPUTS), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,), (hidden,), ()]
        for name, shape in zip(PARTS, shapes):
            part = getattr(self, name)
            if part.shape != shape or not np.isfinite(part).all():
                raise ValueError(f"{name} has the shape {part.shape} and not {shape}, or holds what is no number")

    @classmethod
    @cache
    def load(cls, path: Path = WEIGHTS) -> "FibrillationNetwork":
        """That of the file at `path`. Raises DeepECGError where it cannot be read."""
        try:
            weights = json.loads(path.read_text(encoding="utf-8"))["weights"]
            return cls(*(np.array(weights[name], float) for name in PARTS))
        except (OSError, IndexError, KeyError, TypeError, ValueError) as error:
            raise DeepECGError(f"{path} holds no network of the rhythm ({error}): fetch the file again") from None


class FibrillationWatch:
    """The probability of fibrillation or flutter at one patient's beats, in order of time.

    `proba` is that after the latest beat, before the first one what the network says of no beats.
    """

    def __init__(self, network: FibrillationNetwork):
        hidden = network.recurrent.shape[1]
        self._weights, self._output, self._bias = _in_one_product(network), network.output, float(network.output_bias)
        self._given = np.zeros(self._weights.shape[1])  # inputs, 1, memory
        self._given[INPUTS] = 1
        self._sums = np.empty(4 * hidden)
        self._name_parts()
        self._rr_s, self._was_v = math.nan, False  # the latest known interval; whether the latest beat is V
        self.proba = self._told()

    def _name_parts(self):
        self._memory, self._gates = self._given[INPUTS + 1 :], self._sums[: len(self._sums) // 2]
        self._reset, self._update, self._own, self._new = np.split(self._sums, 4)

    def __setstate__(self, state: dict):
        self.__dict__ |= state
        self._name_parts()  # a copy or pickle has them apart

    def steps(self, rr_s: np.ndarray, is_v: np.ndarray) -> np.ndarray:
        """The probability (beats,) that each of the next beats fibrillates: see `step`."""
        return np.fromiter((self.step(*beat) for beat in zip(each(rr_s), each(is_v))), float, len(rr_s))

    def step(self, rr_s: float, is_v: bool) -> float:
        """The probability that the next beat fibrillates; where the interval before it is none, as it was.

        rr_s from `rhythm.rr_intervals`; is_v whether the beat is labelled V or F.
        """
        if _is_known(rr_s, is_v, self._was_v):
            self._remember(*_inputs(rr_s, self._rr_s))
            self._rr_s, self.proba = rr_s, self._told()
        self._was_v = is_v
        return self.proba

    def _remember(self, *inputs: float):
        """The memory after `inputs`, in place and in few calls: it is run for each of the many beats of a day."""
        memory, own, new = self._memory, self._own, self._new
        self._given[0], self._given[1], self._given[2] = inputs
        self._weights.dot(self._given, self._sums)
        _logistic(self._gates)
        np.multiply(own, self._reset, own)
        np.add(new, own, new)
        np.tanh(new, new)
        np.subtract(memory, new, memory)
        np.multiply(memory, self._update, memory)
        np.add(memory, new, memory)

    def _told(self) -> float:
        return float(1 / (1 + np.exp(-(self._output.dot(self._memory) + self._bias))))


def _logistic(sums: np.ndarray):
    """1 / (1 + exp(-sums)), in place."""
    np.negative(sums, sums)
    np.exp(sums, sums)
    np.add(sums, 1, sums)
    np.reciprocal(sums, sums)


def _in_one_product(network: FibrillationNetwork) -> np.ndarray:
    """What makes of inputs, 1 and memory the sums of the unit, (4 hidden, INPUTS + 1 + hidden).

    They are those of reset, of update, what of the memory goes into the new one, and what of the inputs does.
    """
    hidden = network.recurrent.shape[1]
    of_inputs = np.column_stack([network.input, network.input_bias, np.zeros_like(network.recurrent)])
    of_memory = np.column_stack([np.zeros_like(network.input), network.recurrent_bias, network.recurrent])
    gates, new = slice(2 * hidden), slice(2 * hidden, None)
    return np.concatenate([of_inputs[gates] + of_memory[gates], of_memory[new], of_inputs[new]])


def _is_known(rr_s: float, is_v: bool, was_v: bool) -> bool:
    """Whether `rr_s` is an interval between two beats that are not V."""
    return RR_RANGE_S[0] <= rr_s <= RR_RANGE_S[1] and not is_v and not was_v


def _inputs(rr_s: float, before_s: float) -> tuple[float, float, float]:
    """What the network sees of an interval, `before_s` the known one before it, NaN where there is none."""
    step = 0.0 if math.isnan(before_s) else STEP_SCALE * min(max(math.log(rr_s / before_s), -1.0), 1.0)
    return math.log(rr_s / USUAL_RR_S) / SPREAD, step, abs(step)


def known_intervals(rr_s: np.ndarray, is_v: np.ndarray) -> np.ndarray:
    """`rr_s` (beats,), NaN where it is no interval between two beats that are not V."""
    beats = zip(each(rr_s), each(is_v), chain([False], each(is_v)))
    return np.fromiter((beat[0] if _is_known(*beat) else math.nan for beat in beats), float, len(rr_s))


def rhythm_inputs(intervals_s: np.ndarray) -> np.ndarray:
    """What the network sees of the known intervals (n,) of a patient, (n, INPUTS)."""
    known_s = intervals_s.tolist()
    return np.array([_inputs(*pair) for pair in zip(known_s, [math.nan, *known_s])], float).reshape(-1, INPUTS)


# Episodes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Episode:
    """A stretch of fibrillation or flutter of so many `beats`, from the beat at sample `start` to that at `end`."""

    start: int
    end: int
    beats: int


def fibrillation(rr_s: np.ndarray, is_v: np.ndarray) -> np.ndarray:
    """The probability (beats,) that each beat of a record fibrillates, by the network that ships: see `steps`."""
    return FibrillationWatch(FibrillationNetwork.load()).steps(rr_s, is_v)


def episodes_of_record(
    samples: np.ndarray,
    fs_hz: float,
    labels: np.ndarray,
    after_gap: np.ndarray | None = None,
    p_waves: np.ndarray | None = None,
) -> list[Episode] | None:
    """The episodes of a whole record: R-peaks `samples` (beats,) at `fs_hz`, `labels` (beats,) into CLASSES.

    Of beats `after_gap` (beats,), before which signal was lost, the interval is none. `p_waves` (beats,) as in
    `doubted_by_p_waves`, where they are known. None where there are fewer than FEWEST_INTERVALS intervals: too few to
    judge a rhythm by.
    """
    rr_s, is_v = rr_intervals(samples, fs_hz, after_gap), np.isin(labels, VENTRICULAR)
    if np.isfinite(known_intervals(rr_s, is_v)).sum() < FEWEST_INTERVALS:
        return None
    proba = fibrillation(rr_s, is_v)
    if p_waves is not None:
        proba = doubted_by_p_waves(proba, p_waves[~is_v], (samples[-1] - samples[0]) / fs_hz)
    return find_episodes(samples, proba)


def doubted_by_p_waves(proba: np.ndarray, p_waves: np.ndarray, duration_s: float) -> np.ndarray:
    """`proba` (beats,) of fibrillation in a record of `duration_s`, in which `p_waves` are as like as they are.

    p_waves (n,), n > 0, are the correlations of P waves with that of the running template (`shape.P_WAVE`). In a
    recording of seconds intervals are few and P waves tell much; in a long one they hardly count, for flutter waves
    are as alike as P waves.
    """
    weight = P_WEIGHT * min(1.0, P_WAVES_S / max(duration_s, 1.0))
    odds = math.exp(weight * (P_USUAL - float(p_waves.mean())))
    return proba * odds / (proba * odds + 1 - proba)


def find_episodes(samples: np.ndarray, proba: np.ndarray, back_beats: int = BACK_BEATS) -> list[Episode]:
    """The episodes by `proba` (beats,) of the R-peaks `samples` (beats,), of a record that is known to its end.

    Gaps of fewer than GAP_BEATS beats, and then episodes of fewer than FEWEST_BEATS, are none, but for one that is half
    of a short recording. An episode that lasts to the end ends with the last beat.
    """
    inside = proba >= SURE
    fewest_beats = min(FEWEST_BEATS, max(len(inside) // 2, FEWEST_INTERVALS))
    for state, fewest in ((False, GAP_BEATS), (True, fewest_beats)):
        for first, last in stretches(inside == state):
            at_edge = not state and (first == 0 or last + 1 == len(inside))
            if last + 1 - first < fewest and not at_edge:
                inside[first : last + 1] = not state
    found = []
    for first, last in stretches(inside):
        start = max(first - back_beats, 0)
        end = last if last + 1 == len(inside) else max(last + 1 - back_beats, start)
        found.append(Episode(int(samples[start]), int(samples[end]), end - start))
    return found


def rhythm_annotations(samples: np.ndarray, episodes: Sequence[tuple[int, int]]) -> list[tuple[int, str]]:
    """Marks (sample, note) of the rhythm as in WFDB annotation files: (AFIB where an episode begins, (N elsewhere.

    Flutter is not told from fibrillation. None where there is no beat; `samples` (beats,) are the R-peaks, `episodes`
    the first and the last sample of each.
    """
    if len(samples) == 0:
        return []
    marks = {int(samples[0]): "(N"}
    for first, end in episodes:
        marks |= {first: "(AFIB", end: "(N"}
    last = int(samples[-1])
    return [(sample, note) for sample, note in sorted(marks.items()) if note == "(AFIB" or sample < last]
