"""The network of R-peaks and signal quality of whole records: at four rates, it sees 6 s to either side.

Its file holds that of streams, too: the weighed mean of both is what the file answers.
"""

import copy
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deep_ecg.beats.beat_network import FULL, NETWORK_HZ, STEP
from deep_ecg.beats.record_network import INPUT, OUTPUT, WHOLE_SAMPLES
from deep_ecg.deploy.onnx_export import exported, write_onnx

CHANNELS = (24, 32, 48, 64)  # at 50, 25, 12.5 and 6.25 Hz
FIRST_TAPS, TAPS, HALVING_TAPS, DEEP_TAPS = 16, 5, 4, 3
DEEP_DILATIONS = (1, 2, 4, 8, 1, 2, 4, 8)  # at the lowest rate
OF_STREAMS = (0.5, 0.25)  # weights of the network of streams in what is a beat and what is unreadable


class Residual(nn.Module):
    """A dilated convolution and one of a single tap, whose sum with the input goes on."""

    def __init__(self, channels: int, taps: int, dilation: int = 1):
        super().__init__()
        padding = (taps - 1) * dilation // 2
        self.wide = nn.Sequential(
            nn.Conv2d(channels, channels, (1, taps), dilation=(1, dilation), padding=(0, padding), bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.mixed = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, stream: Tensor) -> Tensor:
        """`stream` (records, channels, 1, steps) -> the same shape."""
        return F.relu(stream + self.mixed(self.wide(stream)))


class Halved(nn.Sequential):
    """A convolution at every second step."""

    def __init__(self, before: int, after: int, taps: int):
        padding = (0, taps // 2 - 1)
        convolution = nn.Conv2d(before, after, (1, taps), stride=(1, 2), padding=padding, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(after), nn.ReLU())


class WholeNetwork(nn.Module):
    """A U-Net (Ronneberger et al. 2015): inputs (records, samples) of -1 to 1, logits (records, steps, 2).

    The samples are at NETWORK_HZ, as many as a multiple of WHOLE_SAMPLES, and STEP make a step. They are taken for
    images one sample high: for these torch and onnxruntime have the faster convolutions.
    """

    def __init__(self):
        super().__init__()
        pairs = list(pairwise(CHANNELS))
        self.first = Halved(1, CHANNELS[0], FIRST_TAPS)
        self.down = nn.ModuleList(Halved(before, after, HALVING_TAPS) for before, after in pairs)
        self.encoders = nn.ModuleList(
            nn.Sequential(Residual(channels, TAPS), Residual(channels, TAPS, 2)) for channels in CHANNELS[:-1]
        )
        self.deep = nn.Sequential(*(Residual(CHANNELS[-1], DEEP_TAPS, dilation) for dilation in DEEP_DILATIONS))
        self.up = nn.ModuleList(nn.Conv2d(after, before, 1) for before, after in pairs)
        self.decoders = nn.ModuleList(Residual(channels, TAPS) for channels in CHANNELS[:-1])
        self.last, self.head = Residual(CHANNELS[0], TAPS), nn.Conv2d(CHANNELS[0], 2, 1)
        nn.init.constant_(cast(Tensor, self.head.bias)[:1], -2.5)  # a beat is rare
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster, but not typed

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of beat and of unreadable signal."""
        stream, seen = self.first(inputs[:, None, None]), []
        for encoder, down in zip(self.encoders, self.down):
            seen.append(encoder(stream))
            stream = down(seen[-1])
        stream = self.deep(stream)
        for skipped, up, decoder in reversed(list(zip(seen, self.up, self.decoders))):
            stream = decoder(skipped + F.interpolate(up(stream), scale_factor=(1.0, 2.0), mode="nearest"))
        return self.head(self.last(stream))[:, :, 0].transpose(1, 2)


class OfStreams(nn.Module):
    """The network of streams (`beat_network`, whose `arrays` these are), its whole numbers in float32.

    Sums of more than 24 bits are rounded, so that now and then a number differs by one from that of the stream.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        super().__init__()
        self._dilations, self._ahead = arrays["dilations"].tolist(), STEP * int(arrays["delay_steps"])
        names = [f"{kind}{index}" for index in range(len(self._dilations)) for kind in ("narrow", "depth", "wide")]
        self._layers = {name: _layer(arrays, name) for name in ("first", *names)}
        weights, biases = (arrays[f"head_{part}"] * arrays["logit_scales"] for part in ("weights", "biases"))
        self._layers["head"] = _convolution(weights), _numbers(biases)

    def forward(self, samples: Tensor) -> Tensor:
        """Whole numbers of -FULL to FULL (samples,) to logits (samples / STEP, 2), not delayed: it reads on behind."""
        weights, biases = self._layers["first"]
        ends = (weights.shape[-1] - STEP, self._ahead)
        stream = F.relu(F.conv2d(F.pad(samples, ends)[None, None, None], weights, biases, stride=(1, STEP))).floor()
        for index, dilation in enumerate(self._dilations):
            narrowed = _cut(F.conv2d(stream, *self._layers[f"narrow{index}"]))
            weights, biases = self._layers[f"depth{index}"]
            before = F.pad(narrowed, ((weights.shape[-1] - 1) * dilation, 0))
            sums = F.conv2d(before, weights, biases, dilation=(1, dilation), groups=len(weights))
            stream = stream + F.conv2d(_cut(sums), *self._layers[f"wide{index}"]).floor()
        logits = F.conv2d(F.relu(stream), *self._layers["head"])
        return logits[0, :, 0, self._ahead // STEP :].T


def _cut(sums: Tensor) -> Tensor:
    """`sums` as whole numbers of 0 to FULL."""
    return sums.clamp(0, FULL).floor()


def _layer(arrays: Mapping[str, np.ndarray], name: str) -> tuple[Tensor, Tensor]:
    """Weights (outputs, inputs, 1, taps) and biases (outputs,) of layer `name`, its scale folded into them."""
    scales = arrays[f"{name}_multipliers"] * 2.0 ** -int(arrays[f"{name}_shift"])
    weights, biases = (arrays[f"{name}_{part}"] * scales for part in ("weights", "biases"))
    of_taps = name == "first" or name.startswith("depth")
    return _numbers(weights.T[:, None, None]) if of_taps else _convolution(weights), _numbers(biases + 0.5)


def _convolution(weights: np.ndarray) -> Tensor:
    """`weights` (inputs, outputs) as those of a convolution of one tap."""
    return _numbers(weights.T[:, :, None, None])


def _numbers(values: np.ndarray) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


class _BothNetworks(nn.Module):
    """What `RecordNetwork` asks: whole numbers of -FULL to FULL (samples,) in, logits (steps, 2) out."""

    def __init__(self, network: WholeNetwork, arrays: Mapping[str, np.ndarray]):
        super().__init__()
        self.network, self.of_streams = copy.deepcopy(network).eval(), OfStreams(arrays)
        self._weights = torch.tensor(OF_STREAMS)

    def forward(self, samples: Tensor) -> Tensor:
        return torch.lerp(self.network(samples[None] / FULL)[0], self.of_streams(samples), self._weights)


def export(network: WholeNetwork, arrays: Mapping[str, np.ndarray], path: Path):
    """Writes `network` and that of streams, `arrays`, as an ONNX file of any multiple of WHOLE_SAMPLES."""
    parts = torch.export.Dim("parts", min=2, max=2**20)
    samples = torch.zeros(64 * WHOLE_SAMPLES)
    shapes = ({0: WHOLE_SAMPLES * parts},)
    write_onnx(path, exported(_BothNetworks(network, arrays), (samples,), [INPUT], OUTPUT, shapes))


def multiplications_per_s() -> float:
    """What the network costs."""
    network, found = WholeNetwork().eval(), []
    hooks = [
        module.register_forward_hook(lambda module, _, out: found.append(module.weight[0].numel() * out.numel()))
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    samples = 64 * WHOLE_SAMPLES
    with torch.no_grad():
        network(torch.zeros(1, samples))
    for hook in hooks:
        hook.remove()
    return sum(found) / (samples / NETWORK_HZ)
