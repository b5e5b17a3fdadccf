"""The hybrid network: a 1D CNN on the waveform and an MLP on rhythm and shape features, fused into five logits."""

import torch
from torch import Tensor, nn

FEATURE_LIMIT = 2.0


class FeatureMLP(nn.Module):
    """Features (batch, count) -> (batch, hidden), normalised by statistics of the training patients.

    A normalised feature is kept within FEATURE_LIMIT standard deviations: what no training patient showed is not
    extrapolated.
    """

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
        return self.layers(((features - self.mean) / self.scale).clamp(-FEATURE_LIMIT, FEATURE_LIMIT))


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
        channels: tuple[int, int, int] = (32, 64, 128),
        kernels: tuple[int, int, int] = (7, 5, 5),
        flatten: bool = True,
        feature_hidden: int = 32,
        hidden: int = 256,
        dropout: float = 0.3,
        flatten_dropout: float = 0.5,
        wave_dropout: float = 0.5,
        window_samples: int = 280,
        input_channels: int = 1,
        classes: int = 5,
    ):
        super().__init__()
        self.wave = nn.Sequential(*_blocks((input_channels, *channels), kernels))
        self.flatten = nn.Sequential(nn.Flatten(), nn.Dropout(flatten_dropout)) if flatten else None
        self.wave_dropout = wave_dropout
        self.features = FeatureMLP(feature_count, feature_hidden)
        mapped = channels[-1] * (window_samples // 8) if flatten else 0
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(mapped + channels[-1] + feature_hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )

    def forward(self, windows: Tensor, features: Tensor) -> Tensor:
        """windows (batch, channels, window_samples), features (batch, feature_count) -> logits (batch, classes)."""
        feature_map = self.wave(windows)  # (batch, channels, window_samples / 8)
        wave = feature_map.amax(dim=2)
        if self.flatten is not None:
            wave = torch.cat([wave, self.flatten(feature_map)], dim=1)
        if self.training:  # all of a beat's waveform or nothing, and not scaled up: the head must know both cases
            wave = wave * (torch.rand(len(wave), 1) >= self.wave_dropout)
        return self.head(torch.cat([wave, self.features(features)], dim=1))


def _blocks(channels: tuple[int, ...], kernels: tuple[int, ...]) -> list[nn.Module]:
    return [
        nn.Sequential(
            nn.Conv1d(before, after, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm1d(after),
            nn.MaxPool1d(2),
            nn.ReLU(),  # after the pooling: the same function on half the values
        )
        for before, after, kernel in zip(channels, channels[1:], kernels)
    ]
