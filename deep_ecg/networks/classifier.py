"""A trained network with all that it takes to use it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from config import CLASSES, Config
from deep_ecg.beats.arrays import NetworkInputs
from deep_ecg.beats.input_settings import InputSettings
from deep_ecg.beats.inputs import CHANNELS, FEATURES
from deep_ecg.beats.signal_watch import Growing
from deep_ecg.networks.decision import Decision
from deep_ecg.networks.description import Description
from deep_ecg.networks.onnx_network import OnnxNetwork, load_onnx
from deep_ecg.networks.trained_on import PRETRAINED, KnownLead, read_known
from deep_ecg.system.errors import DeepECGError

if TYPE_CHECKING:
    from torch import nn

    from model import HybridECGNet

RUNTIMES = ("fp32", "int8", "torch", "onnx")
ONNX_FILES = {"fp32": "-fp32.onnx", "int8": ".onnx", "onnx": ".onnx"}  # how the pretrained ones' names end
NORMAL, VENTRICULAR, UNCLASSIFIABLE = (CLASSES.index(name) for name in "NVQ")
UNREAD = np.eye(len(CLASSES))[UNCLASSIFIABLE]  # in the place of probabilities where the signal could not be read
NOWHERE = np.zeros(0, np.int64)  # of no beat
V_IN_NOISE = 0.3  # what V of a beat in noise is multiplied by: most that are called so there are motion
SURELY_N = 0.9  # a second lead is not asked about a beat so likely N: no score of DS1 and SVDB changed by it
SYNTHETIC_NETWORK = "SYNTHETIC: this network was trained on generated signals; its labels are a demonstration only"


def predict_proba(model: "nn.Module | OnnxNetwork", windows: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Class probabilities (n, classes) from a network of either kind; torch is imported for one of its own only."""
    if isinstance(model, OnnxNetwork):
        return model.predict_proba(windows, features)
    from deep_ecg.networks import torch_network

    return torch_network.predict_proba(model, windows, features)


@dataclass(frozen=True)
class Classifier:
    """A trained network, the description by which it is used, and the records it was `trained_on`, if that is known."""

    model: "nn.Module | OnnxNetwork"
    description: Description
    trained_on: tuple[KnownLead, ...] = ()

    @property
    def inputs(self) -> InputSettings:
        """How its inputs are made."""
        return self.description.inputs

    @property
    def synthetic(self) -> bool:
        """Whether it learned from SYNTHETIC data."""
        return self.description.synthetic

    def answers(self) -> "Answers":
        """Those to the beats of a new patient, as yet none."""
        return Answers(Decision(self.description.decision))

    def answer(
        self,
        answers: "Answers",
        inputs: NetworkInputs,
        shown: NetworkInputs | None = None,
        hears: Callable[[np.ndarray], np.ndarray] | None = None,
        noisy: np.ndarray = NOWHERE,
    ):
        """Adds to the `answers` those to the next beats, `inputs`.

        Where another lead has `shown` the same beats, the network's answer to one that is heard there and not surely N
        is the mean of those to both: `hears` tells of the numbers of some beats (n,), which rise, whether they are,
        (n,) bool. A beat that is `noisy` (all beats,), if any is, and not heard there is less likely V.
        """
        of_network = predict_proba(self.model, inputs.windows, inputs.features)
        in_noise = np.zeros(len(of_network), bool)
        in_noise[np.flatnonzero(noisy[answers.count : answers.count + len(of_network)])] = True
        if hears is not None and shown is not None:
            asked = np.flatnonzero(in_noise | (of_network[:, NORMAL] < SURELY_N))
            heard = asked[hears(answers.count + asked)]
            in_noise[heard] = False
            self._ask(shown, of_network, heard[of_network[heard, NORMAL] < SURELY_N])
        of_network[in_noise, VENTRICULAR] *= V_IN_NOISE
        answers.add(of_network, inputs)

    def _ask(self, shown: NetworkInputs, proba: np.ndarray, both: np.ndarray):
        """Takes into `proba` (beats, classes) what is `shown` of the beats of numbers `both` (n,)."""
        if len(both):
            proba[both] = (proba[both] + predict_proba(self.model, shown.windows[both], shown.features[both])) / 2


class Answers:
    """What a network answers to the beats of one patient, in order, and the decision on them."""

    def __init__(self, decision: Decision):
        self._decision, self.count = decision, 0
        self._proba, self._groups = Growing(np.zeros((0, len(CLASSES)))), Growing(NOWHERE)
        self._p_waves = Growing(np.zeros(0, np.float32))

    def add(self, proba: np.ndarray, inputs: NetworkInputs):
        """The network's probabilities (n, classes) of the next n beats, of which these are the `inputs`."""
        self.count += len(proba)
        self._proba.add(self._decision(proba, inputs.groups, inputs.rr_s))
        self._groups.add(inputs.groups)
        self._p_waves.add(inputs.p_waves.copy())  # of themselves they hold on to all features

    def all(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Calibrated probabilities (beats, classes), and groups and P waves (beats,) of the inputs."""
        return self._proba.all(), self._groups.all(), self._p_waves.all()


def is_sure(proba: np.ndarray, min_confidence: float) -> np.ndarray:
    """Whether the highest of the probabilities (..., classes) is no lower than `min_confidence`, (...) bool."""
    return proba.max(axis=-1) >= min_confidence


def check_min_confidence(value: float):
    """Raises DeepECGError where `value` is no probability."""
    if not 0 <= value <= 1:
        raise DeepECGError(f"--min-confidence {value:g} cannot be used: it must be 0 (classify every beat) to 1")


def load_classifier(config: Config, checkpoint: Path | None = None, runtime: str | None = None) -> Classifier:
    """The network of `checkpoint`, by default the pretrained one of the mode and preset of `config`.

    `runtime` is as `runtime_of` takes it: for "torch" a checkpoint of a training, for the others an ONNX file of
    `python quantize.py`, for which torch is not imported. Raises DeepECGError when it is missing, broken, or made for
    another mode.
    """
    runtime = runtime_of(checkpoint, runtime)
    path = network_path(config, checkpoint, runtime)
    known = read_known(path.parent)
    if runtime in ONNX_FILES:
        return Classifier(*load_onnx(path, **_expected(config)), known)
    return Classifier(*load_network(config, checkpoint), known)


def load_network(config: Config, checkpoint: Path | None = None) -> "tuple[HybridECGNet, Description]":
    """The network of a checkpoint as torch has it, which is scored, exported or quantized, and its description.

    The rest as in `load_classifier`.
    """
    from deep_ecg.networks import torch_network
    from model import HybridECGNet

    path = network_path(config, checkpoint, "torch")
    if path.suffix == ".onnx":
        raise DeepECGError(f"{path} is an ONNX file, which torch does not run: name a .pt")
    model, description = torch_network.load_checkpoint(path, (HybridECGNet,), **_expected(config))
    _try_out(model, description, path)
    return model, description


def _expected(config: Config) -> dict:
    """What the description of a network for `config` has to say."""
    return {"mode": config.mode, "classes": CLASSES, "features": FEATURES[config.mode]}


def runtime_of(checkpoint: Path | None, runtime: str | None) -> str:
    """What runs the network: `runtime`, by default what `checkpoint` is a file of, or onnxruntime in fp32.

    "fp32", "int8" and "onnx" are onnxruntime; the first two name a pretrained file, "onnx" that of int8 as before.
    """
    return runtime or ("fp32" if checkpoint is None else "onnx" if checkpoint.suffix == ".onnx" else "torch")


def network_path(config: Config, checkpoint: Path | None, runtime: str | None) -> Path:
    """The file of the network: `checkpoint`, by default the pretrained one of mode, preset and `runtime`."""
    ending = ONNX_FILES.get(runtime_of(checkpoint, runtime), ".pt")
    return checkpoint or PRETRAINED / f"{config.mode}-{config.preset}{ending}"


def _try_out(model: "nn.Module", description: Description, path: Path):
    """Raises DeepECGError unless `model` takes inputs of the shapes that its description tells of.

    A network of an ONNX file is tried out when it is loaded.
    """
    window = np.zeros((1, CHANNELS, description.inputs.window_samples), np.float32)
    features = np.zeros((1, len(description.features)), np.float32)
    try:
        if predict_proba(model, window, features).shape != (1, len(CLASSES)):
            raise ValueError
    except (ValueError, RuntimeError, IndexError):
        raise DeepECGError(f"checkpoint {path} does not fit the settings that it states: train it again") from None
