"""Networks of random weights and beats of random numbers: what they answer does not matter."""

import copy
from functools import cache
from pathlib import Path

import numpy as np
import torch

from config import Config
from deep_ecg.beats.arrays import Beats
from deep_ecg.beats.inputs import CHANNELS, FEATURES
from deep_ecg.deploy.integer_network import IntegerNetwork, quantized
from deep_ecg.networks.classifier import Classifier
from deep_ecg.networks.description import Description
from deep_ecg.records.database import Source
from deep_ecg.training.experiment import describe, hybrid_arguments
from model import HybridECGNet


def network(mode="diagnostic", preset="edge", seed=0) -> HybridECGNet:
    """Random weights, batch statistics of random beats; a network of the caller's own."""
    return copy.deepcopy(_network(mode, preset, seed))


@cache
def integer_network(mode="diagnostic", seed=0) -> IntegerNetwork:
    """`network` of the preset edge in integers, its ranges those of `made_up_beats`."""
    return quantized(network(mode, seed=seed), made_up_beats(mode))


@cache
def _network(mode: str, preset: str, seed: int) -> HybridECGNet:
    torch.manual_seed(seed)
    model = HybridECGNet(**hybrid_arguments(Config(mode=mode, preset=preset)))
    with torch.no_grad():
        for block in model.wave:
            block[1].weight.uniform_(0.5, 2)
            block[1].bias.normal_()
        beats = made_up_beats(mode, 40)
        model.features.set_normalisation(torch.from_numpy(beats.features))
        for _ in range(20):
            model(torch.from_numpy(beats.windows), torch.from_numpy(beats.features))
    return model.eval()


def made_up_beats(mode="diagnostic", count=60, seed=0) -> Beats:
    rng = np.random.default_rng(seed)
    windows = 1.5 * rng.standard_normal((count, CHANNELS, Config().window_samples))
    return Beats(
        windows=windows.astype(np.float32),
        features=(1 + 0.2 * rng.standard_normal((count, len(FEATURES[mode])))).astype(np.float32),
        labels=np.arange(count, dtype=np.int64) % 5,
        records=np.full(count, "100"),
        samples=np.arange(count, dtype=np.int64),
        groups=np.zeros(count, np.int64),
        rr_s=np.full(count, 0.8),
    )


def described(config: Config, source: str = "local", seed: int = 0) -> Description:
    """The description of a network trained with `config` on the database called `source`."""
    return describe(config, Source(source, Path()), seed)


def classifier_of(model: HybridECGNet, config: Config, source: str = "local") -> Classifier:
    """`model` as if it had been trained with `config`."""
    return Classifier(model, described(config, source))
