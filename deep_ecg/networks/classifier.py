"""A trained network with all that it takes to use it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from config import CLASSES, Config, with_overrides
from deep_ecg.beats.inputs import CHANNELS, FEATURES
from deep_ecg.networks.onnx_network import OnnxNetwork, load_onnx
from deep_ecg.system.errors import DeepECGError

if TYPE_CHECKING:
    from torch import nn


def predict_proba(model: "nn.Module | OnnxNetwork", windows: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Class probabilities (n, classes) from a network of either kind; torch is imported for one of its own only."""
    if isinstance(model, OnnxNetwork):
        return model.predict_proba(windows, features)
    from deep_ecg.networks import torch_network

    return torch_network.predict_proba(model, windows, features)


RUNTIMES = ("torch", "onnx")
PRETRAINED = Path(__file__).resolve().parents[2] / "pretrained"
INPUT_SETTINGS = ("lead", "fs_hz", "band_hz", "filter_order", "window_samples", "look_ahead_ms")
KNOWN_BY = ("preset", "data_source")  # of a network's description: the first by which its temperature is known
RATES_HZ = (50.0, 5000.0)  # below, the QRS is lost; above, nothing is recorded from the skin
UNCLASSIFIABLE = CLASSES.index("Q")
SYNTHETIC_NETWORK = "SYNTHETIC: this network was trained on generated signals; its labels are a demonstration only"


@dataclass(frozen=True)
class Classifier:
    """A trained network, the settings its inputs must be made with, and whether it learned from SYNTHETIC data."""

    model: "nn.Module | OnnxNetwork"
    config: Config
    synthetic: bool


def is_sure(proba: np.ndarray, min_confidence: float) -> np.ndarray:
    """Whether the highest of the probabilities (..., classes) is no lower than `min_confidence`, (...) bool."""
    return proba.max(axis=-1) >= min_confidence


def check_min_confidence(value: float):
    """Raises DeepECGError where `value` is no probability."""
    if not 0 <= value <= 1:
        raise DeepECGError(f"--min-confidence {value:g} cannot be used: it must be 0 (classify every beat) to 1")


def load_classifier(config: Config, checkpoint: Path | None = None, runtime: str = "torch") -> Classifier:
    """The network of `checkpoint`, by default the pretrained one of the mode and preset of `config`.

    `runtime` "torch" takes a checkpoint of a training, "onnx" an ONNX file of `python quantize.py`, for which torch
    is not imported. Raises DeepECGError when it is missing, broken, or made for another mode.
    """
    path = network_path(config, checkpoint, runtime)
    expected = {"mode": config.mode, "classes": list(CLASSES), "features": list(FEATURES[config.mode])}
    if runtime == "onnx":
        model, description = load_onnx(path, **expected)
    elif path.suffix == ".onnx":
        raise DeepECGError(f"{path} is an ONNX file: add --runtime onnx")
    else:
        from deep_ecg.networks import torch_network
        from model import HybridECGNet

        model, description = torch_network.load_checkpoint(path, (HybridECGNet,), **expected)
    settings = input_settings(path, description, config)
    classifier = Classifier(model, settings, description["data_source"] == "synthetic")
    _check_fit(classifier, path)
    return classifier


def network_path(config: Config, checkpoint: Path | None, runtime: str) -> Path:
    """The file of the network: `checkpoint`, by default the pretrained one of mode, preset and `runtime`."""
    return checkpoint or PRETRAINED / f"{config.mode}-{config.preset}.{'onnx' if runtime == 'onnx' else 'pt'}"


def input_settings(path: Path, description: dict, config: Config) -> Config:
    """`config` with the settings by which the inputs of the network stored at `path` were made.

    Raises DeepECGError when its `description` lacks them, or does not say from which data it learned.
    """
    said = description.get("config")
    said = {**(said if isinstance(said, dict) else {}), **{name: description.get(name) for name in KNOWN_BY}}
    missing = [name for name in (*INPUT_SETTINGS, *KNOWN_BY) if said.get(name) is None]
    if missing:
        raise DeepECGError(f"checkpoint {path} does not say how its inputs were made ({missing[0]}): train again")
    stored = {name: tuple(said[name]) if isinstance(said[name], list) else said[name] for name in INPUT_SETTINGS}
    stored["preset"] = said["preset"]
    try:
        return with_overrides(config, **stored)
    except DeepECGError as error:
        raise DeepECGError(f"checkpoint {path}: {error}") from None


def _check_fit(classifier: Classifier, path: Path):
    """Raises DeepECGError unless the network takes inputs made with its own settings, which lie within reason.

    A network of an ONNX file was tried when it was loaded.
    """
    config = classifier.config
    sane = config.window_samples <= 10 * config.fs_hz and config.filter_order <= 10
    try:
        if not (sane and RATES_HZ[0] <= config.fs_hz <= RATES_HZ[1]):
            raise ValueError
        if isinstance(classifier.model, OnnxNetwork):
            return
        window = np.zeros((1, CHANNELS, config.window_samples), np.float32)
        features = np.zeros((1, len(FEATURES[config.mode])), np.float32)
        if predict_proba(classifier.model, window, features).shape != (1, len(CLASSES)):
            raise ValueError
    except (ValueError, RuntimeError, IndexError):
        raise DeepECGError(f"checkpoint {path} does not fit the settings that it states: train it again") from None
