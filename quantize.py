"""Post-training dynamic quantization to int8, measured on the reloaded file."""

import copy
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from config import DeepECGError
from engine import predict_proba, read_torch_file, write_torch_file

LATENCY_CALLS = 300


@dataclass(frozen=True)
class QuantizationReport:
    """Bytes of the two files of weights, accuracies as fractions, latency of one beat on one thread in microseconds."""

    fp32_bytes: int
    int8_bytes: int
    ratio: float
    fp32_accuracy: float
    int8_accuracy: float
    accuracy_change: float  # int8 minus fp32
    fp32_latency_us: float
    int8_latency_us: float


def quantize_dynamic(model: nn.Module) -> nn.Module:
    """A copy of `model` whose linear layers hold int8 weights; their inputs are quantized as they come.

    This is the one place that calls torch's eager quantization, which is deprecated but still what ships with torch
    alone. Convolutions stay in fp32. Raises DeepECGError where this torch no longer has it.
    """
    eager = getattr(torch.ao.quantization, "quantize_dynamic", None)
    if eager is None:
        raise DeepECGError(f"torch {torch.__version__} has no quantize_dynamic: install requirements.txt")
    with _known_deprecations():
        return eager(copy.deepcopy(model).eval(), {nn.Linear}, dtype=torch.qint8)


@contextmanager
def _known_deprecations() -> Iterator[None]:
    """Silences what torch says of this interface each time it is used: requirements.txt pins the version."""
    with warnings.catch_warnings():
        for subject in ("torch.ao.quantization is", "TypedStorage is", "torch.quantize_per_tensor, .* are"):
            warnings.filterwarnings("ignore", message=f".*{subject} deprecated")
        yield


def save_int8(path: Path, model: nn.Module) -> nn.Module:
    """Writes the int8 form of `model` to `path` and returns it as reloaded from there."""
    save_weights(path, quantize_dynamic(model))
    reloaded = quantize_dynamic(model)
    with _known_deprecations():
        reloaded.load_state_dict(read_torch_file(path))
    return reloaded.eval()


def save_weights(path: Path, model: nn.Module) -> int:
    """Writes the weights of `model` as they are in memory; returns the bytes of the file."""
    write_torch_file(path, model.state_dict())
    return path.stat().st_size


def measure(folder: Path, model: nn.Module, windows: np.ndarray, features: np.ndarray, labels: np.ndarray) -> dict:
    """Writes `model_fp32.pt` and `model_int8.pt` into `folder` and compares them; a QuantizationReport as a dict.

    The int8 figures are those of the network reloaded from its file. windows (beats, channels, samples), features
    (beats, features), labels (beats,).
    """
    int8_path = folder / "model_int8.pt"
    fp32_bytes = save_weights(folder / "model_fp32.pt", model)
    reloaded = save_int8(int8_path, model)
    int8_bytes = int8_path.stat().st_size
    fp32_accuracy, int8_accuracy = (
        float((predict_proba(network, windows, features).argmax(axis=1) == labels).mean())
        for network in (model, reloaded)
    )
    report = QuantizationReport(
        fp32_bytes=fp32_bytes,
        int8_bytes=int8_bytes,
        ratio=fp32_bytes / int8_bytes,
        fp32_accuracy=fp32_accuracy,
        int8_accuracy=int8_accuracy,
        accuracy_change=int8_accuracy - fp32_accuracy,
        fp32_latency_us=latency_us(model, windows, features),
        int8_latency_us=latency_us(reloaded, windows, features),
    )
    return asdict(report)


@torch.inference_mode()
def latency_us(model: nn.Module, windows: np.ndarray, features: np.ndarray) -> float:
    """Median time of one beat through `model`, one thread, in microseconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    beat = torch.from_numpy(windows[:1]), torch.from_numpy(features[:1])
    times_s = []
    for _ in range(LATENCY_CALLS):
        start = time.perf_counter()
        model(*beat)
        times_s.append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    return float(np.median(times_s[LATENCY_CALLS // 10 :]) * 1e6)
