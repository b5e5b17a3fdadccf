"""Atrial fibrillation or flutter at every beat, told from the rhythm: a probability, and the episodes that it makes.

A gated recurrent unit (Cho et al. 2014, EMNLP) of a few numbers of memory looks at the RR intervals alone, one after
another, causally. Intervals to and from beats labelled V or F are passed over: frequent ectopic beats are irregular
too, but do not fibrillate. What it learned from is said in its file, which `python -m experiments rhythm` writes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from config import CLASSES
from deep_ecg.beats.rhythm import rr_intervals
from deep_ecg.beats.signal_watch import stretches
from deep_ecg.networks.classifier import PRETRAINED
from deep_ecg.system.errors import DeepECGError

WEIGHTS = PRETRAINED / "rhythm.json"
RR_RANGE_S = (0.2, 3.0)  # an interval outside it is none
USUAL_RR_S, SPREAD = 0.8, 0.4  # by which the logarithm of an interval is scaled
STEP_SCALE = 3.0  # of the logarithm of an interval over the one before
INPUTS = 3  # of a beat: interval, its step from the last one, and how large that is
VENTRICULAR = (CLASSES.index("V"), CLASSES.index("F"))  # labels of beats whose intervals say nothing of the atria
PARTS = ("input", "recurrent", "input_bias", "recurrent_bias", "output", "output_bias")

SURE = 0.5  # probability from which a beat counts as fibrillating
FEWEST_BEATS = 20  # of an episode, and between two of them
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
    """The probability of fibrillation or flutter at one patient's beats, any number of them at a time."""

    def __init__(self, network: FibrillationNetwork):
        self._network = network
        self._memory = np.zeros(network.recurrent.shape[1])
        self._rr_s, self._was_v = np.nan, False  # the latest known interval; whether the latest beat is V

    def steps(self, rr_s: np.ndarray, is_v: np.ndarray) -> np.ndarray:
        """The probability (beats,) that each of the next beats fibrillates; where an interval is none, as before it.

        rr_s (beats,) from `rhythm.rr_intervals`; is_v (beats,) whether each beat is labelled V or F.
        """
        if len(rr_s) == 0:
            return np.empty(0)
        intervals_s = known_intervals(rr_s, is_v, self._was_v)
        known = np.isfinite(intervals_s)
        inputs = rhythm_inputs(intervals_s[known], self._rr_s)
        memories = np.concatenate([self._memory[None], self._steps(inputs)])
        self._memory, self._was_v = memories[-1], bool(is_v[-1])
        self._rr_s = np.append(self._rr_s, intervals_s[known])[-1]
        told = sigmoid(memories @ self._network.output + self._network.output_bias)
        return told[np.cumsum(known)]

    def _steps(self, inputs: np.ndarray) -> np.ndarray:
        """The memory (beats, hidden) after each of `inputs` (beats, INPUTS)."""
        network, memory, hidden = self._network, self._memory, len(self._memory)
        memories = np.empty((len(inputs), hidden))
        for at, given in enumerate(inputs @ network.input.T + network.input_bias):
            own = network.recurrent @ memory + network.recurrent_bias
            reset, update = np.split(sigmoid(given[: 2 * hidden] + own[: 2 * hidden]), 2)
            new = np.tanh(given[2 * hidden :] + reset * own[2 * hidden :])
            memory = new + update * (memory - new)
            memories[at] = memory
        return memories


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-logits)), without overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * logits)


def known_intervals(rr_s: np.ndarray, is_v: np.ndarray, was_v: bool = False) -> np.ndarray:
    """`rr_s` (beats,), NaN where it is no interval between two beats that are not V; `was_v`: whether the first was."""
    after_v = np.concatenate(([was_v], is_v[:-1])) if len(is_v) else is_v
    known = (rr_s >= RR_RANGE_S[0]) & (rr_s <= RR_RANGE_S[1]) & ~is_v & ~after_v
    return np.where(known, rr_s, np.nan)


def rhythm_inputs(intervals_s: np.ndarray, before_s: float = np.nan) -> np.ndarray:
    """What the network sees of the known intervals (n,), (n, INPUTS); `before_s` is the one before the first."""
    steps = np.log(intervals_s / np.concatenate(([before_s], intervals_s))[: len(intervals_s)])
    steps = STEP_SCALE * np.clip(np.where(np.isfinite(steps), steps, 0.0), -1, 1)
    return np.stack([np.log(intervals_s / USUAL_RR_S) / SPREAD, steps, np.abs(steps)], axis=1)


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
    samples: np.ndarray, fs_hz: float, labels: np.ndarray, after_gap: np.ndarray | None = None
) -> list[Episode]:
    """The episodes of a whole record: R-peaks `samples` (beats,) at `fs_hz`, `labels` (beats,) into CLASSES.

    Of beats `after_gap` (beats,), before which signal was lost, the interval is none.
    """
    rr_s = rr_intervals(samples, fs_hz, after_gap)
    return find_episodes(samples, fibrillation(rr_s, np.isin(labels, VENTRICULAR)))


def find_episodes(samples: np.ndarray, proba: np.ndarray, back_beats: int = BACK_BEATS) -> list[Episode]:
    """The episodes by `proba` (beats,) of the R-peaks `samples` (beats,), of a record that is known to its end.

    Gaps, and then episodes, of fewer than FEWEST_BEATS beats are none. An episode that lasts to the end ends with the
    last beat.
    """
    inside = proba >= SURE
    for state in (False, True):  # first short gaps, then short episodes
        for first, last in stretches(inside == state):
            at_edge = not state and (first == 0 or last + 1 == len(inside))
            if last + 1 - first < FEWEST_BEATS and not at_edge:
                inside[first : last + 1] = not state
    found = []
    for first, last in stretches(inside):
        start = max(first - back_beats, 0)
        end = last if last + 1 == len(inside) else max(last + 1 - back_beats, start)
        found.append(Episode(int(samples[start]), int(samples[end]), end - start))
    return found


def rhythm_annotations(samples: np.ndarray, episodes: Sequence[Episode]) -> list[tuple[int, str]]:
    """Marks (sample, note) of the rhythm as in WFDB annotation files: (AFIB where an episode begins, (N elsewhere.

    Flutter is not told from fibrillation. None where there is no beat; `samples` (beats,) are the R-peaks.
    """
    if len(samples) == 0:
        return []
    marks = {int(samples[0]): "(N"}
    for episode in episodes:
        marks |= {episode.start: "(AFIB", episode.end: "(N"}
    last = int(samples[-1])
    return [(sample, note) for sample, note in sorted(marks.items()) if note == "(AFIB" or sample < last]


def burden(samples: np.ndarray, episodes: Sequence[Episode]) -> float:
    """Share of the time from the first to the last of the R-peaks `samples` (beats,) that lies in the `episodes`."""
    length = int(samples[-1] - samples[0]) if len(samples) else 0
    return sum(episode.end - episode.start for episode in episodes) / length if length else 0.0
