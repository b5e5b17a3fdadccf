"""Trains the networks of R-peaks and signal quality, and writes them.

They read DS1 without the records that carry the noise test, and two thirds of SVDB, the 2014 Challenge, TELE and the
2017 Challenge; the rest of these is for choosing (`detectors`). DS2 stays shut. The causal form answers 0.1 s late and
is written as whole numbers, that of whole records (`detector_whole`) as ONNX. The recordings of 2017 have no R-peaks:
after a quarter of the training a network marks those of which it is sure, and learns from them too. Takes half an
hour a form on two cores.
"""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from config import Config
from deep_ecg.beats import beat_network, record_network
from deep_ecg.beats.beat_network import FULL, RESIDUAL_LIMIT, STEP, STEP_HZ, RunningGain
from deep_ecg.beats.beat_picking import strongest
from deep_ecg.beats.record_network import WHOLE_SAMPLES
from deep_ecg.records.database import real_source
from deep_ecg.system.files import atomic_file
from experiments import detector_whole
from experiments.detector_data import Recording, training_recordings, unreadable_stretches
from experiments.detector_segments import Segments
from experiments.detector_whole import WholeNetwork

WEIGHTS = Path(beat_network.__file__).parent
CHANNELS, NARROW, TAPS, FIRST_TAPS = 32, 16, 3, 16
DILATIONS = (1, 2, 1, 4, 8, 16, 32, 64)  # the network sees 5.3 s
BATCH, WARM_UP = 16, 30
SAVED_EVERY = 500  # batches
UNMARKED, TAUGHT = "cinc2017", 0.25
THRESHOLDS = (0.1, 0.35)  # least probability of a peak that counts, of a beat
CLEARLY = 1.0  # so much higher is the logit of a QRS complex than that of a P wave taken for a beat
LIMITS = (0.35, 0.8)  # least probability of noisy and of unreadable signal
QUALITY_WEIGHT = 0.3  # of the loss of quality beside that of beats

SURE, UNSURE = 0.8, 0.15  # a peak of a recording without R-peaks is a beat; one between the two teaches nothing
UNSURE_QUALITY = 0.5
AROUND_STEPS = 15
LONGEST_STEPS = 100  # between two beats: more, and one may have been missed

RESIDUAL_SCALE = 512.0  # whole numbers that 1 becomes in the residual stream
MULTIPLIER_BITS = 20
CLIPPED = 2e-4  # of the activations of a channel, by the scale that is chosen for it


@dataclass(frozen=True)
class Form:
    """How one of both networks is trained: how late it is to answer, and how fast it learns."""

    network: type[nn.Module]
    delay_s: float
    learning_rate: float
    weight_decay: float

    @property
    def delay_steps(self) -> int:
        """How many steps late it answers."""
        return round(self.delay_s * STEP_HZ)


class Block(nn.Module):
    """CHANNELS to NARROW, a dilated convolution of each channel, back to CHANNELS: what is added to the stream.

    Only the narrow channels have to be remembered.
    """

    def __init__(self, dilation: int):
        super().__init__()
        self.narrow, self.wide = nn.Linear(CHANNELS, NARROW), nn.Linear(NARROW, CHANNELS)
        self.taps, self.biases = nn.Parameter(torch.randn(TAPS, NARROW) * 0.5), nn.Parameter(torch.zeros(NARROW))
        self.dilation = dilation
        with torch.no_grad():
            self.narrow.weight.mul_(1.5)
            self.wide.weight.mul_(0.5)

    def forward(self, stream: Tensor) -> Tensor:
        """What is added to `stream` (records, steps, CHANNELS)."""
        return self.wide(self.convolved(F.relu(self.narrow(stream))))

    def convolved(self, narrowed: Tensor) -> Tensor:
        """`narrowed` (records, steps, NARROW) after the dilated convolution, which looks back alone."""
        steps = narrowed.shape[1]
        padded = F.pad(narrowed, (0, 0, (TAPS - 1) * self.dilation, 0))
        shifted = (padded[:, tap * self.dilation : tap * self.dilation + steps] for tap in range(TAPS))
        return F.relu(self.biases + sum(part * weights for part, weights in zip(shifted, self.taps)))


class FloatNetwork(nn.Module):
    """`BeatNetwork` in floating point: inputs (records, samples) of -1 to 1, logits (records, steps, 2)."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(FIRST_TAPS, CHANNELS), nn.Linear(CHANNELS, 2)
        self.blocks = nn.ModuleList(Block(dilation) for dilation in DILATIONS)
        with torch.no_grad():
            self.head.bias[0] = -2.5  # a beat is rare
            self.first.weight.mul_(2)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of beat and of unreadable signal."""
        stream = self.entered(inputs)
        for block in self.blocks:
            stream = stream + block(stream)
        return self.head(F.relu(stream))

    def entered(self, inputs: Tensor) -> Tensor:
        """The stream (records, steps, CHANNELS) before the first block."""
        return F.relu(self.first(F.pad(inputs, (FIRST_TAPS - STEP, 0)).unfold(1, FIRST_TAPS, STEP)))


FORMS = {"causal": Form(FloatNetwork, 0.10, 5e-3, 1e-4), "whole": Form(WholeNetwork, 0.0, 4e-3, 1e-3)}


def multiplications_per_s() -> float:
    """What the network costs."""
    block = NARROW * (2 * CHANNELS + TAPS)
    return STEP_HZ * (FIRST_TAPS * CHANNELS + len(DILATIONS) * block + 2 * CHANNELS)


# Training ------------------------------------------------------------------------------------------------------------


class _Batches(Dataset):
    """Batches of `segments` by number, made ahead of time by a process of their own."""

    def __init__(self, segments: Segments, numbers: range, delay_steps: int):
        self._segments, self._numbers, self._delay_steps = segments, numbers, delay_steps

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, at: int) -> tuple[Tensor, ...]:
        arrays = self._segments.batch(self._numbers[at], BATCH, self._delay_steps)
        return tuple(torch.from_numpy(array) for array in arrays)


def train(network: nn.Module, segments: Segments, unmarked: Sequence[Recording], form: Form, steps: int, saved: Path):
    """Trains `network` of `form` for `steps` batches; after TAUGHT of them it marks the beats of `unmarked` itself.

    What is done is kept in the file `saved` now and then, and gone on from where that is there.
    """
    training = _Training(network, segments, form, steps, saved)
    teaches_at = round(TAUGHT * steps)
    training.run(teaches_at)
    training.teacher = training.teacher or deepcopy(network.state_dict())
    teacher = form.network()
    teacher.load_state_dict(training.teacher)
    segments.exchange(UNMARKED, taught(teacher, unmarked, form.delay_steps))
    training.run(steps)


class _Training:
    """A training of so many `steps`, some at a time."""

    def __init__(self, network: nn.Module, segments: Segments, form: Form, steps: int, saved: Path):
        self._network, self._segments, self._form = network, segments, form
        self._steps, self._saved, self._done = steps, saved, 0
        self.teacher: dict = {}  # the weights that marked beats, if any have
        self._optimizer = torch.optim.AdamW(network.parameters(), weight_decay=form.weight_decay)
        if saved.exists():
            state = torch.load(saved, weights_only=True)
            network.load_state_dict(state["network"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._done, self.teacher = state["done"], state["teacher"]

    def run(self, end: int):
        """Goes on to step `end`."""
        self._network.train()
        started_s, first = perf_counter(), self._done
        for batch in self._batches(end):
            losses = self._learned(batch)
            self._done += 1
            if self._done % 50 == 0:
                beat, quality = (float(loss.detach()) for loss in losses)
                pace = f"{self._done} of {self._steps}, {self._done - first} in {perf_counter() - started_s:.0f} s"
                print(f"{pace}: {beat:.4f} {quality:.4f}", flush=True)
            if self._done % SAVED_EVERY == 0 or self._done == end:
                self._save()

    def _batches(self, end: int) -> Iterator[tuple[Tensor, ...]]:
        numbers = range(self._done, end)
        if numbers:
            batches = _Batches(self._segments, numbers, self._form.delay_steps)
            yield from DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4)

    def _learned(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        for group in self._optimizer.param_groups:
            group["lr"] = self._form.learning_rate * rate(self._done, self._steps)
        losses = losses_of(self._network, batch)
        self._optimizer.zero_grad()
        (losses[0] + QUALITY_WEIGHT * losses[1]).backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimizer.step()
        return losses

    def _save(self):
        state = {"done": self._done, "network": self._network.state_dict(), "optimizer": self._optimizer.state_dict()}
        with atomic_file(self._saved) as temporary:
            torch.save(state | {"teacher": self.teacher}, temporary)


def rate(step: int, steps: int) -> float:
    """Share of the learning rate at `step`: up in WARM_UP steps, down along a cosine."""
    return min(1.0, (step + 1) / WARM_UP) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))


def losses_of(network: nn.Module, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Cross entropy of beats and of quality, where these are known."""
    inputs, beats, beats_known, unreadable, quality_known = batch
    logits = network(inputs / FULL)
    return _loss(logits[..., 0], beats, beats_known), _loss(logits[..., 1], unreadable, quality_known)


def _loss(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


# Recordings without R-peaks ------------------------------------------------------------------------------------------


def taught(network: nn.Module, recordings: Sequence[Recording], delay_steps: int) -> list[Recording]:
    """`recordings` without R-peaks with those of which `network` is sure; where it is not, they stay unknown.

    It answers `delay_steps` late.
    """
    network.eval()
    return [_taught(network, one, delay_steps) for one in recordings]


def _taught(network: nn.Module, one: Recording, delay_steps: int) -> Recording:
    steps = len(one.signal_mv) // STEP + 1
    after = np.zeros(STEP * (steps + delay_steps) - len(one.signal_mv))
    inputs = RunningGain()(np.concatenate([one.signal_mv, after])).astype(np.float32)
    inputs = np.pad(inputs, (0, -len(inputs) % WHOLE_SAMPLES))
    with torch.no_grad():
        logits = network(torch.from_numpy(inputs)[None] / FULL)[0, delay_steps : delay_steps + steps]
    beat, unreadable = torch.sigmoid(logits).numpy().T
    peaks = strongest(beat, UNSURE)
    sure = peaks[beat[peaks] >= SURE]
    known = unreadable < UNSURE_QUALITY
    for peak in peaks[beat[peaks] < SURE]:
        known[max(peak - AROUND_STEPS, 0) : peak + AROUND_STEPS] = False
    edges = [-1, *sure.tolist(), len(beat)]
    for start, end in pairwise(edges):
        if end - start > LONGEST_STEPS:
            known[max(start, 0) : end] = False
    at = np.minimum(np.arange(len(one.signal_mv)) // STEP, len(beat) - 1)
    return replace(one, beats_s=(sure + 0.5) / STEP_HZ, beats_known=known[at] & (one.unreadable < UNSURE_QUALITY))


# Whole numbers -------------------------------------------------------------------------------------------------------


def integers(network: FloatNetwork, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of `BeatNetwork`; `inputs` (records, samples) of -FULL to FULL set the scales of activations."""
    arrays: dict[str, np.ndarray] = {}
    with torch.no_grad():
        stream = network.entered(torch.from_numpy(inputs).float() / FULL)
        put(arrays, "first", numbers(network.first.weight).T, network.first.bias, 1 / FULL, 1 / RESIDUAL_SCALE)
        for index, block in enumerate(cast(list[Block], list(network.blocks))):
            narrowed = F.relu(block.narrow(stream))
            convolved = block.convolved(narrowed)
            before, after = scales(narrowed), scales(convolved)
            put(arrays, f"narrow{index}", numbers(block.narrow.weight).T, block.narrow.bias, 1 / RESIDUAL_SCALE, before)
            put(arrays, f"depth{index}", numbers(block.taps) * before, block.biases, 1.0, after)
            wide = numbers(block.wide.weight).T * after[:, None]
            put(arrays, f"wide{index}", wide, block.wide.bias, 1.0, 1 / RESIDUAL_SCALE)
            stream = stream + block.wide(convolved)
        if float(stream.abs().max()) * RESIDUAL_SCALE > RESIDUAL_LIMIT:
            print("warning: the residual stream overflows: lower RESIDUAL_SCALE")
    weights = numbers(network.head.weight).T
    size = weight_scales(weights)
    arrays["head_weights"] = np.round(weights / size).astype(np.int8)
    arrays["head_biases"] = np.round(numbers(network.head.bias) * RESIDUAL_SCALE / size).astype(np.int32)
    least, beat, *quality = (np.log(p / (1 - p)) * RESIDUAL_SCALE for p in (*THRESHOLDS, *LIMITS))
    arrays["logit_scales"] = size / RESIDUAL_SCALE
    arrays["threshold"], arrays["least"] = (np.array(round(one / size[0]), np.int32) for one in (beat, least))
    arrays["quality_limits"] = np.round(np.array(quality) / size[1]).astype(np.int32)
    arrays["clearly"] = np.array(round(CLEARLY * RESIDUAL_SCALE / size[0]), np.int32)
    arrays["dilations"] = np.array(DILATIONS, np.int32)
    arrays["delay_steps"] = np.array(FORMS["causal"].delay_steps, np.int32)
    return arrays


def put(
    arrays: dict[str, np.ndarray],
    name: str,
    weights: np.ndarray,
    biases: Tensor,
    in_scale: float,
    out_scale: float | np.ndarray,
):
    """Writes layer `name` of real `weights` (inputs or taps, outputs) into `arrays`: see `beat_network.Layer`."""
    size = weight_scales(weights)
    real = size * in_scale / out_scale
    shift = int(np.clip(np.floor(MULTIPLIER_BITS - np.log2(real.max())), 0, 40))
    arrays[f"{name}_weights"] = np.round(weights / size).astype(np.int8)
    arrays[f"{name}_biases"] = np.round(numbers(biases) / (size * in_scale)).astype(np.int32)
    arrays[f"{name}_multipliers"] = np.round(real * 2.0**shift).astype(np.int32)
    arrays[f"{name}_shift"] = np.array(shift, np.int32)


def numbers(parameters: Tensor) -> np.ndarray:
    """`parameters` as float64."""
    return parameters.detach().numpy().astype(float)


def weight_scales(weights: np.ndarray) -> np.ndarray:
    """What 1 of int8 is worth for each output of `weights` (inputs, outputs)."""
    return np.maximum(np.abs(weights).max(axis=0), 1e-6) / FULL


def scales(activations: Tensor) -> np.ndarray:
    """What 1 of int8 is worth for each channel of `activations` (records, steps, channels)."""
    rows = activations.reshape(-1, activations.shape[-1]).numpy()
    return np.maximum(1.05 * np.quantile(rows, 1 - CLIPPED, axis=0), 1e-3) / FULL


def add_options(parser: argparse.ArgumentParser):
    """Where the databases are, which form to train and how long."""
    parser.add_argument("--sets", type=Path, default=Path("data"), help="folder of svdb, challenge2014, tele, cinc2017")
    parser.add_argument("--form", choices=FORMS, nargs="+", default=list(FORMS), help="default: both")
    parser.add_argument("--steps", type=int, default=6000, help="batches (default 6000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=WEIGHTS, help="for the weights (default: those in use)")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/detector"), help="for what a broken-off run goes on from"
    )


def run(options: argparse.Namespace):
    """Reads, trains, writes."""
    recordings: Mapping = training_recordings(real_source(Config()).folder, options.sets)
    noises = unreadable_stretches([*recordings["tele"], *recordings["noisy"]])
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    for name in options.form:
        form = FORMS[name]
        torch.manual_seed(options.seed)
        network, segments = form.network(), Segments(recordings, noises, options.seed)
        saved = options.work / f"{name}-{options.steps}-{options.seed}.pt"
        train(network, segments, recordings[UNMARKED], form, options.steps, saved)
        write(options.folder, network, segments, options.steps)


def write(folder: Path, network: nn.Module, segments: Segments, steps: int):
    """Writes `network` into `folder`; the scales of whole numbers are those of batches that it has not seen."""
    if isinstance(network, WholeNetwork):
        path, cost = folder / record_network.FILE, detector_whole.multiplications_per_s()
        detector_whole.export(network, beat_network.pretrained(), path)
    else:
        path, cost = folder / beat_network.FILE, multiplications_per_s()
        inputs = segments.batch(steps, 4 * BATCH, 0)[0]
        with atomic_file(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **integers(cast(FloatNetwork, network), inputs))
    parameters = sum(one.numel() for one in network.parameters())
    print(f"{path}: {parameters:,} parameters, {cost:,.0f} multiplications a second")
