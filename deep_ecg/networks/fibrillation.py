"""Atrial fibrillation or flutter at every beat, told from the rhythm: a probability, and the episodes that it makes.

A gated recurrent unit (Cho et al. 2014, EMNLP) of a few numbers of memory looks at the RR intervals alone, one after
another. Intervals to and from beats labelled V are none: frequent V are irregular too, but do not fibrillate. It tells
of the latest beat, causally, and of the beat before, with one beat of lag. What it learned from is said in its file,
which `python -m experiments rhythm` writes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from deep_ecg.networks.classifier import PRETRAINED
from deep_ecg.system.errors import DeepECGError

WEIGHTS = PRETRAINED / "rhythm.json"
RR_RANGE_S = (0.2, 3.0)  # an interval outside it is none
USUAL_RR_S, SPREAD = 0.8, 0.4  # by which the logarithm of an interval is scaled
STEP_SCALE = 3.0  # of the logarithm of an interval over the one before
INPUTS = 4  # of a beat: interval, its step, how large that is, and whether there is none
PARTS = ("input", "recurrent", "input_bias", "recurrent_bias", "output", "output_bias")

SURE = 0.5  # probability from which a beat counts as fibrillating
FEWEST_BEATS = 20  # of an episode, and between two of them
BACK_BEATS = 16  # by so many beats an episode begins, and ends, before it is told: it takes them to be sure


@dataclass(frozen=True)
class FibrillationNetwork:
    """Weights of the recurrent unit, in the order of torch.nn.GRU (reset, update, new), and of its two outputs."""

    input: np.ndarray  # (3 hidden, INPUTS)
    recurrent: np.ndarray  # (3 hidden, hidden)
    input_bias: np.ndarray  # (3 hidden,)
    recurrent_bias: np.ndarray  # (3 hidden,)
    output: np.ndarray  # (2, hidden): of the latest beat, of the one before
    output_bias: np.ndarray  # (2,)

    def __post_init__(self):
        hidden = self.recurrent.shape[-1]
        shapes = [(3 * hidden, INPUTS), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,), (2, hidden), (2,)]
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
        self._rr_s, self._was_v = np.nan, False  # of the latest beat

    def steps(self, rr_s: np.ndarray, is_v: np.ndarray) -> np.ndarray:
        """Probabilities (beats, 2) after each of the next beats: that it fibrillates, and that the one before does.

        rr_s (beats,) from `rhythm.rr_intervals`; is_v (beats,) whether each beat is labelled V.
        """
        inputs = rhythm_inputs(rr_s, is_v, self._rr_s, self._was_v)
        if len(rr_s):
            known_s = known_intervals(rr_s, is_v, self._was_v)
            self._rr_s, self._was_v = float(known_s[-1]), bool(is_v[-1])
        network, hidden = self._network, len(self._memory)
        given = inputs @ network.input.T + network.input_bias
        memories = np.empty((len(given), hidden))
        memory = self._memory
        for at, from_input in enumerate(given):
            own = network.recurrent @ memory + network.recurrent_bias
            reset, update = np.split(sigmoid(from_input[: 2 * hidden] + own[: 2 * hidden]), 2)
            new = np.tanh(from_input[2 * hidden :] + reset * own[2 * hidden :])
            memory = new + update * (memory - new)
            memories[at] = memory
        self._memory = memory
        return sigmoid(memories @ network.output.T + network.output_bias)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-logits)), without overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * logits)


def known_intervals(rr_s: np.ndarray, is_v: np.ndarray, was_v: bool = False) -> np.ndarray:
    """`rr_s` (beats,), NaN where it is no interval between two beats that are not V; `was_v`: whether the first was."""
    after_v = np.concatenate(([was_v], is_v[:-1])) if len(is_v) else is_v
    known = (rr_s >= RR_RANGE_S[0]) & (rr_s <= RR_RANGE_S[1]) & ~is_v & ~after_v
    return np.where(known, rr_s, np.nan)


def rhythm_inputs(
    rr_s: np.ndarray, is_v: np.ndarray, rr_before_s: float = np.nan, was_v: bool = False
) -> np.ndarray:
    """What the network sees of each beat, (beats, INPUTS); the last two are of the beat before the first."""
    known_s = known_intervals(np.asarray(rr_s, float), np.asarray(is_v, bool), was_v)
    step = np.log(known_s / np.concatenate(([rr_before_s], known_s))[: len(known_s)])
    both = np.isfinite(step)
    step = STEP_SCALE * np.clip(np.where(both, step, 0.0), -1, 1)
    interval = np.log(np.where(np.isfinite(known_s), known_s, USUAL_RR_S) / USUAL_RR_S) / SPREAD
    return np.stack([interval, step, np.abs(step), ~both], axis=1)


# Episodes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Episode:
    """A stretch of fibrillation or flutter of so many `beats`, from the beat at sample `start` to that at `end`."""

    start: int
    end: int
    beats: int


def fibrillation(rr_s: np.ndarray, is_v: np.ndarray, lag: bool = True) -> np.ndarray:
    """The probability (beats,) that each beat of a record fibrillates; causal without the `lag` of one beat."""
    proba = FibrillationWatch(FibrillationNetwork.load()).steps(rr_s, is_v)
    if not lag or len(proba) == 0:
        return proba[:, 0]
    return np.append(proba[1:, 1], proba[-1, 0])


def find_episodes(samples: np.ndarray, proba: np.ndarray, back_beats: int = BACK_BEATS) -> list[Episode]:
    """The episodes by `proba` (beats,) of the R-peaks `samples` (beats,), of a record that is known to its end.

    Gaps, and then episodes, of fewer than FEWEST_BEATS beats are none. An episode that lasts to the end ends with the
    last beat.
    """
    inside = proba >= SURE
    for state in (False, True):  # first short gaps, then short episodes
        for first, last in _runs(inside == state):
            at_edge = not state and (first == 0 or last == len(inside))
            if last - first < FEWEST_BEATS and not at_edge:
                inside[first:last] = not state
    found = []
    for first, last in _runs(inside):
        start = max(first - back_beats, 0)
        end = len(inside) - 1 if last == len(inside) else max(last - back_beats, start)
        found.append(Episode(int(samples[start]), int(samples[end]), end - start))
    return found


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Where each run of True in `flags` (n,) begins, and the index after its end."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))


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
