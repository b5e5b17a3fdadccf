"""Trains the network of R-peaks and signal quality, and writes it as whole numbers.

`python -m experiments.beat_training --form causal --out FILE.npz` reads DS1 without the records that carry the noise
test, and two thirds of SVDB, the 2014 Challenge, TELE and the 2017 Challenge; the rest of these is for choosing, see
beat_scores.py. DS2 stays shut. Both forms are the same network, trained to answer 0.1 s or 2.4 s late.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from config import Config
from deep_ecg.beats.beat_network import FULL, RESIDUAL_LIMIT, STEP, STEP_HZ
from deep_ecg.records.database import real_source
from deep_ecg.system import console
from experiments.beat_augment import Segments
from experiments.beat_data import training_recordings, unreadable_stretches

DELAYS_S = {"causal": 0.10, "whole": 2.4}
CHANNELS, NARROW, TAPS, FIRST_TAPS = 32, 16, 3, 16
DILATIONS = (1, 2, 1, 4, 8, 16, 32, 64)  # the network sees 5.3 s
BATCH, LEARNING_RATE, WEIGHT_DECAY, WARM_UP = 16, 5e-3, 1e-4, 30
SAVED_EVERY = 500  # batches
QUALITY_WEIGHT = 0.3  # of the loss of quality beside that of beats

RESIDUAL_SCALE = 512.0  # whole numbers that 1 becomes in the residual stream
MULTIPLIER_BITS = 20
CLIPPED = 2e-4  # of the activations of a channel, by the scale that is chosen for it


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


def multiplications_per_s() -> float:
    """What the network costs."""
    block = NARROW * (2 * CHANNELS + TAPS)
    return STEP_HZ * (FIRST_TAPS * CHANNELS + len(DILATIONS) * block + 2 * CHANNELS)


# Training ------------------------------------------------------------------------------------------------------------


def train(network: FloatNetwork, segments: Segments, form: str, steps: int, saved: Path):
    """Trains `network` of `form` for `steps` batches, and saves it now and then."""
    delay_steps = round(DELAYS_S[form] * STEP_HZ)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    started_s = perf_counter()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * rate(step, steps)
        losses = losses_of(network, segments.batch(BATCH, delay_steps))
        optimizer.zero_grad()
        (losses[0] + QUALITY_WEIGHT * losses[1]).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 49:
            beat, quality = (float(loss) for loss in losses)
            print(f"{step + 1} of {steps}, {perf_counter() - started_s:.0f} s: {beat:.4f} {quality:.4f}", flush=True)
        if step % SAVED_EVERY == SAVED_EVERY - 1 or step == steps - 1:
            torch.save(network.state_dict(), saved)


def rate(step: int, steps: int) -> float:
    """Share of the learning rate at `step`: up in WARM_UP steps, down along a cosine."""
    return min(1.0, (step + 1) / WARM_UP) * (0.02 + 0.49 * (1 + np.cos(np.pi * step / steps)))


def losses_of(network: FloatNetwork, batch: tuple[np.ndarray, ...]) -> tuple[Tensor, Tensor]:
    """Cross entropy of beats and of quality, where these are known."""
    inputs, beats, beats_known, unreadable, quality_known = (torch.from_numpy(array) for array in batch)
    logits = network(inputs / FULL)
    return _loss(logits[..., 0], beats, beats_known), _loss(logits[..., 1], unreadable, quality_known)


def _loss(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


# Whole numbers -------------------------------------------------------------------------------------------------------


def integers(
    network: FloatNetwork, inputs: np.ndarray, form: str, threshold: float, limits: tuple[float, float]
) -> dict[str, np.ndarray]:
    """The arrays of `BeatNetwork`; `inputs` (records, samples) of -FULL to FULL set the scales of activations.

    `threshold` is the least probability of a beat, `limits` those of noisy and of unreadable signal.
    """
    arrays: dict[str, np.ndarray] = {}
    with torch.no_grad():
        stream = network.entered(torch.from_numpy(inputs).float() / FULL)
        put(arrays, "first", numbers(network.first.weight).T, network.first.bias, 1 / FULL, 1 / RESIDUAL_SCALE)
        for index, block in enumerate(network.blocks):
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
    beat, *quality = (np.log(p / (1 - p)) * RESIDUAL_SCALE for p in (threshold, *limits))
    arrays["logit_scales"] = size / RESIDUAL_SCALE
    arrays["threshold"] = np.int32(round(beat / size[0]))
    arrays["quality_limits"] = np.round(np.array(quality) / size[1]).astype(np.int32)
    arrays["dilations"] = np.array(DILATIONS, np.int32)
    arrays["delay_steps"] = np.int32(round(DELAYS_S[form] * STEP_HZ))
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
    arrays[f"{name}_shift"] = np.int32(shift)


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains one network; returns the exit status, see `console.exit_status`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--form", choices=DELAYS_S, default="causal", help="default causal")
    parser.add_argument("--sets", type=Path, default=Path("data"), help="folder of svdb, challenge2014, tele, cinc2017")
    parser.add_argument("--steps", type=int, default=3000, help="batches (default 3000)")
    parser.add_argument("--start", type=Path, help="a network in floating point (.pt) to go on from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threshold", type=float, default=0.5, help="least probability of a beat (default 0.5)")
    parser.add_argument("--limits", type=float, nargs=2, default=(0.2, 0.5), help="of noisy and of unreadable signal")
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write; the network in floating point goes beside it")
    options = parser.parse_args(arguments)
    return console.exit_status(lambda: run(options), console.NOTHING_WRITTEN)


def run(options: argparse.Namespace):
    """Reads, trains, writes."""
    recordings: Mapping = training_recordings(real_source(Config()).folder, options.sets)
    noises = unreadable_stretches([*recordings["tele"], *recordings["noisy"]])
    segments = Segments(recordings, noises, options.seed)
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    network = FloatNetwork()
    if options.start is not None:
        network.load_state_dict(torch.load(options.start, weights_only=True))
    train(network, segments, options.form, options.steps, options.out.with_suffix(".pt"))
    inputs = segments.batch(4 * BATCH, 0)[0]
    np.savez_compressed(options.out, **integers(network, inputs, options.form, options.threshold, options.limits))
    print(f"{sum(one.numel() for one in network.parameters())} parameters, {multiplications_per_s():.0f} a second")


if __name__ == "__main__":
    sys.exit(main())
