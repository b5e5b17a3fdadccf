"""Networks in ONNX files, run by onnxruntime: labels without torch, on a Raspberry Pi or a server.

`onnx_export.py` writes the files. How a network is used is in the file's own metadata.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from config import CLASSES
from deep_ecg.beats.inputs import CHANNELS
from deep_ecg.networks import onnx_guard
from deep_ecg.networks.description import Description, decoded
from deep_ecg.networks.temperature import softmax
from deep_ecg.records import guard
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.onnx_session import session_of

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


METADATA = "deep_ecg"  # the entry of metadata_props that holds the description, as JSON
INPUTS, OUTPUT = ("windows", "features"), "logits"
BATCH_BEATS = 256  # what stays in the processor's cache


class OnnxNetwork:
    """The network of an ONNX file on one thread: one beat is too little work to be shared.

    `description` is that of the network it was made from. Raises DeepECGError when the file is missing or broken,
    or no network of this project.
    """

    def __init__(self, path: Path):
        self._path, self._session = path, _session(path)
        self.description = _description(path, self._session)
        window, features = (CHANNELS, self.description.inputs.window_samples), (len(self.description.features),)
        self._check_signature(window, features)
        self.logits(*(np.zeros((2, *shape), np.float32) for shape in (window, features)))  # it can be run

    def logits(self, windows: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Logits (n, classes) of windows (n, CHANNELS, samples) and features (n, count), float32, in one go.

        Raises DeepECGError where the answer is none.
        """
        try:
            [logits] = self._session.run([OUTPUT], dict(zip(INPUTS, (windows, features))))
        except Exception as error:  # onnxruntime has no one class for what it raises
            raise _foreign(self._path, f"it cannot be run: {type(error).__name__}") from None
        if logits.shape != (len(windows), len(CLASSES)) or not np.isfinite(logits).all():
            raise _foreign(self._path, "its answers are not one finite logit a class")
        return logits

    def predict_proba(self, windows: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Class probabilities (n, classes) of windows (n, CHANNELS, samples) and features (n, count), any n >= 0."""
        starts = range(0, len(windows), BATCH_BEATS)
        batches = [self.logits(windows[i : i + BATCH_BEATS], features[i : i + BATCH_BEATS]) for i in starts]
        return softmax(np.concatenate([np.empty((0, len(CLASSES)), np.float32), *batches]))

    def _check_signature(self, window: tuple[int, ...], features: tuple[int, ...]):
        """Raises DeepECGError unless a beat is of these shapes, as the description says."""
        shapes = dict(zip((*INPUTS, OUTPUT), (window, features, (len(CLASSES),))))
        expected = {name: ("tensor(float)", shape) for name, shape in shapes.items()}
        ends = [*self._session.get_inputs(), *self._session.get_outputs()]
        found = {end.name: (end.type, tuple(end.shape[1:])) for end in ends}
        if found != expected:
            said = [f"{name} {list(shape)}" for name, (_, shape) in found.items()]
            needed = [f"{name} {list(shape)}" for name, shape in shapes.items()]
            raise _foreign(self._path, f"a beat in it is {', '.join(said)} instead of {', '.join(needed)}")


def load_onnx(path: Path, **expected) -> tuple[OnnxNetwork, Description]:
    """The network stored at `path` and its description, which must say what is `expected`.

    Raises DeepECGError when the file is missing, broken, or made for something else.
    """
    network = OnnxNetwork(path)
    network.description.check_made_for(path, **expected)
    return network, network.description


def _session(path: Path) -> "InferenceSession":
    if not path.is_file():
        raise DeepECGError(
            f"ONNX file {path} is missing: build it where torch is installed, with `python quantize.py` and the same "
            "--mode and --preset, and name it with --checkpoint"
        )
    try:
        guard.check_file(path, onnx_guard.MAX_BYTES)
        content = path.read_bytes()
        onnx_guard.check_onnx(content)
    except (OSError, ValueError) as error:
        raise _foreign(path, f"it cannot be read: {error}") from None
    try:
        return session_of(content)
    except Exception as error:  # onnxruntime has no one class for what it raises
        raise _foreign(path, f"it cannot be read: {type(error).__name__}") from None


def _description(path: Path, session: "InferenceSession") -> Description:
    try:
        said = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
        version = said.pop("format")
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        raise _foreign(path, "it does not say how its inputs are made") from None
    return decoded(path, version, said)


def _foreign(path: Path, reason: str) -> DeepECGError:
    return DeepECGError(f"{path} is no network of this version of Deep-ECG ({reason}): `python quantize.py` builds one")
