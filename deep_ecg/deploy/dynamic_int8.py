"""Dynamic int8 by torch."""

import copy
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from deep_ecg.beats.arrays import Beats
from deep_ecg.networks.torch_network import read_torch_file, write_torch_file
from deep_ecg.system import console
from deep_ecg.system.errors import DeepECGError

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
    alone; where this torch no longer has it, its successor torchao is taken. Convolutions stay in fp32. Raises
    DeepECGError where there is neither.
    """
    copied = copy.deepcopy(model).eval()
    with _known_complaints():
        try:
            from torch.ao.quantization import quantize_dynamic as eager
        except ImportError:
            return _with_torchao(copied)
        return eager(copied, {nn.Linear}, dtype=torch.qint8)


def _with_torchao(model: nn.Module) -> nn.Module:
    try:
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    except ImportError:
        raise DeepECGError(
            f"torch {torch.__version__} has no quantize_dynamic, and its successor torchao is not installed: install "
            "requirements.txt, or torchao"
        ) from None
    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    return model


def _known_complaints() -> AbstractContextManager:
    """Silences what torch says of this interface each time it is used, and torchao of kernels that it cannot load."""
    subjects = ("torch.ao.quantization is", "TypedStorage is", "torch.quantize_per_tensor, .* are")
    return console.quiet(*(f".*{subject} deprecated" for subject in subjects))


def save_int8(path: Path, model: nn.Module) -> nn.Module:
    """Writes the int8 form of `model` to `path` and returns it as reloaded from there."""
    save_weights(path, quantize_dynamic(model))
    reloaded = quantize_dynamic(model)
    with _known_complaints():
        reloaded.load_state_dict(read_torch_file(path), assign=True)  # torchao's tensors cannot be copied into
    return reloaded.eval()


def save_weights(path: Path, model: nn.Module) -> int:
    """Writes the weights of `model` as they are in memory; returns the bytes of the file."""
    write_torch_file(path, model.state_dict())
    return path.stat().st_size


def measure(
    folder: Path, model: nn.Module, fp32_accuracy: float, tested: Beats, proba_of: Callable[[nn.Module], np.ndarray]
) -> dict:
    """Writes `model_fp32.pt` and `model_int8.pt` into `folder` and compares them; a QuantizationReport as a dict.

    `fp32_accuracy` is the share of the `tested` beats that `model` labels right. The int8 figures are those of the
    network reloaded from its file; `proba_of` gives the probabilities (beats, classes) by which that labels the beats.
    """
    int8_path = folder / "model_int8.pt"
    fp32_bytes = save_weights(folder / "model_fp32.pt", model)
    reloaded = save_int8(int8_path, model)
    int8_bytes = int8_path.stat().st_size
    int8_accuracy = float((proba_of(reloaded).argmax(axis=1) == tested.labels).mean())
    report = QuantizationReport(
        fp32_bytes=fp32_bytes,
        int8_bytes=int8_bytes,
        ratio=fp32_bytes / int8_bytes,
        fp32_accuracy=fp32_accuracy,
        int8_accuracy=int8_accuracy,
        accuracy_change=int8_accuracy - fp32_accuracy,
        fp32_latency_us=latency_us(model, tested.windows, tested.features),
        int8_latency_us=latency_us(reloaded, tested.windows, tested.features),
    )
    return asdict(report)


@torch.inference_mode()
def latency_us(model: nn.Module, windows: np.ndarray, features: np.ndarray) -> float:
    """Median time of one beat through `model`, one thread, in microseconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    beat = torch.from_numpy(windows[:1]), torch.from_numpy(features[:1])
    try:
        return median_us(lambda: model(*beat))
    finally:
        torch.set_num_threads(threads)


def median_us(call: Callable[[], object]) -> float:
    """Median time of `call` in microseconds, after some calls that are not counted."""
    times_s = []
    for _ in range(LATENCY_CALLS):
        start = time.perf_counter()
        call()
        times_s.append(time.perf_counter() - start)
    return float(np.median(times_s[LATENCY_CALLS // 10 :]) * 1e6)
