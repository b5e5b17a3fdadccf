"""The hybrid network: a 1D CNN on the waveform and an MLP on rhythm and shape features, fused into five logits."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURE_LIMIT = 2.0


class FeatureMLP(nn.Module):
    """Features (batch, count) -> (batch, hidden), normalised by statistics of the training patients.

    A normalised feature is kept within FEATURE_LIMIT standard deviations: what no training patient showed is not
    extrapolated.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, count: int, hidden: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))
        self.layers = nn.Sequential(nn.Linear(count, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())

    def set_normalisation(self, features: Tensor):
        """Takes mean and standard deviation from `features` (beats, count) of the training patients."""
        self.mean.copy_(features.mean(dim=0))
        self.scale.copy_(features.std(dim=0).clamp_min(1e-3))

    def forward(self, features: Tensor) -> Tensor:
        """features (batch, count) -> (batch, hidden)."""
        return self.layers(((features - self.mean) / self.scale).clamp(-FEATURE_LIMIT, FEATURE_LIMIT))


def classifier_head(inputs: int, hidden: int, classes: int, dropout: float) -> nn.Sequential:
    """Two layers with dropout before each: (batch, inputs) -> logits (batch, classes)."""
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(inputs, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, classes),
    )


class QuickDropout(nn.Dropout):
    """Dropout from 15 random bits a value in place of torch's 53, in two thirds of the time; p is met within 2e-5."""

    def forward(self, values: Tensor) -> Tensor:
        """Values (batch, any) -> the same shape."""
        if not self.training:
            return values
        kept = torch.randint(2**15, values.shape, dtype=torch.int16, device=values.device) >= round(self.p * 2**15)
        return values * (kept * (1 / (1 - self.p)))


class WaveCNN(nn.Sequential):
    """Blocks of Conv1d, BatchNorm1d, MaxPool1d, ReLU, from (batch, channels, samples) to (batch, width, samples / 8).

    In training the same layers run on images one sample high whose channels lie side by side in memory, which takes
    half the time of torch's one-dimensional kernels.
    """

    def __init__(self, channels: tuple[int, ...], kernels: tuple[int, ...]):
        super().__init__(
            *(
                nn.Sequential(
                    nn.Conv1d(before, after, kernel, padding=kernel // 2, bias=False),
                    nn.BatchNorm1d(after),
                    nn.MaxPool1d(2),
                    nn.ReLU(),  # after the pooling: the same function on half the values
                )
                for before, after, kernel in zip(channels, channels[1:], kernels)
            )
        )

    def forward(self, windows: Tensor) -> Tensor:
        """Windows (batch, channels, samples) -> (batch, channels of the last block, samples / 8)."""
        if not self.training:
            return super().forward(windows)
        images = windows[:, :, None].contiguous(memory_format=torch.channels_last)  # (batch, channels, 1, samples)
        block: Any
        for block in self:
            convolution, norm, pool, activation = block
            images = F.conv2d(images, convolution.weight[:, :, None], padding=(0, *convolution.padding))
            statistics = (norm.running_mean, norm.running_var, norm.weight, norm.bias, True, norm.momentum, norm.eps)
            images = activation(F.max_pool2d(F.batch_norm(images, *statistics), (1, pool.kernel_size)))
        return images[:, :, 0]


class HybridECGNet(nn.Module):
    """Three blocks of Conv1d, BatchNorm, ReLU, MaxPool beside an MLP on the features, joined in a head.

    The maximum of each channel over the window is always part of the head: it asks whether a shape occurs anywhere
    near R, as a matched filter does. With `flatten` the whole feature map joins it, behind its own dropout. In
    training the waveform is hidden from the head for a share of the beats, `wave_dropout`: shapes are easily learned
    by heart from few patients, and the features alone have to do as well.
    """

    def __init__(
        self,
        feature_count: int,
        channels: tuple[int, int, int],
        kernels: tuple[int, int, int],
        flatten: bool,
        feature_hidden: int,
        hidden: int,
        dropout: float,
        flatten_dropout: float,
        wave_dropout: float,
        window_samples: int,
        input_channels: int,
        classes: int = 5,
    ):
        super().__init__()
        self.wave = WaveCNN((input_channels, *channels), kernels)
        self.flatten = nn.Sequential(nn.Flatten(), QuickDropout(flatten_dropout)) if flatten else None
        self.wave_dropout = wave_dropout
        self.features = FeatureMLP(feature_count, feature_hidden)
        mapped = channels[-1] * (window_samples // 8) if flatten else 0
        self.head = classifier_head(mapped + channels[-1] + feature_hidden, hidden, classes, dropout)

    def forward(self, windows: Tensor, features: Tensor) -> Tensor:
        """Windows (batch, channels, window_samples), features (batch, feature_count) -> logits (batch, classes)."""
        wave = self._shown(windows) if self.training else self._wave(windows)
        return self.head(torch.cat([wave, self.features(features)], dim=1))

    def _wave(self, windows: Tensor) -> Tensor:
        """What the head sees of `windows`, (batch, width)."""
        feature_map = self.wave(windows)  # (batch, channels, window_samples / 8)
        wave = feature_map.amax(dim=2)
        return wave if self.flatten is None else torch.cat([wave, self.flatten(feature_map)], dim=1)

    def _shown(self, windows: Tensor) -> Tensor:
        """`_wave` of a random choice of the batch, and 0 for the share `wave_dropout`, whose waveform costs nothing.

        All of a beat's waveform or nothing, and not scaled up: the head must know both cases. Nothing is seen of beats
        without a signal, whose windows are 0.
        """
        shown = torch.randperm(len(windows), device=windows.device)[round(len(windows) * self.wave_dropout) :]
        shown = shown[windows[shown, 0].any(dim=1)]
        wave = self._wave(windows[shown])
        return wave.new_zeros(len(windows), wave.shape[1]).index_copy(0, shown, wave)

