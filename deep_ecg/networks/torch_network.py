"""Networks run by torch, and the files that hold them."""

import io
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from deep_ecg.networks.description import FORMAT, Description, decoded
from deep_ecg.records import guard
from deep_ecg.system.errors import DeepECGError
from deep_ecg.system.files import atomic_file
from deep_ecg.system.progress import counted

CPU = torch.device("cpu")
PREDICT_BATCH = 256  # what stays in the processor's cache
BATCHES_WORTH_A_BAR = 50
Network = TypeVar("Network", bound=nn.Module)


class Sliced(Protocol):
    """Rows (n, ...) of which some are asked for at a time."""

    def __len__(self) -> int: ...

    def __getitem__(self, wanted: slice) -> Tensor: ...


def predict_logits(model: nn.Module, windows: Sliced, features: Sliced, device: torch.device = CPU) -> Tensor:
    """Logits (n, classes) of windows (n, channels, samples) and features (n, count), in evaluation mode.

    The `model` is on the `device`. Batches are shared among torch's threads, one each, so that the bits do not depend
    on how many there are.
    """
    if model.training:
        model.eval()

    @torch.inference_mode()
    def run(batch: slice) -> Tensor:
        return model(windows[batch].to(device), features[batch].to(device)).cpu()

    batches = [slice(start, start + PREDICT_BATCH) for start in range(0, max(len(windows), 1), PREDICT_BATCH)]
    if len(batches) == 1:
        with _single_threaded():
            return run(batches[0])
    bar = len(batches) >= BATCHES_WORTH_A_BAR and sys.stderr.isatty()
    with _single_threaded() as threads, ThreadPoolExecutor(threads) as pool:
        parts = counted(pool.map(run, batches), "labelling beats", len(batches), "batches", bar)
        return torch.cat([part.clone() for part in parts])  # kept where they were made, they would keep all around them


@contextmanager
def _single_threaded() -> Iterator[int]:
    """One thread for each of torch's operations while the block lasts; gives the number that it has otherwise."""
    threads = torch.get_num_threads()
    if threads == 1:  # nothing to change, which takes its time
        yield 1
        return
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def predict_proba(model: nn.Module, windows: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Class probabilities (n, classes) of windows (n, channels, samples) and features (n, count).

    Raises DeepECGError where they are no numbers, which would pass for N beats.
    """
    proba = predict_logits(model, torch.from_numpy(windows), torch.from_numpy(features)).softmax(dim=1).numpy()
    if not np.isfinite(proba).all():
        raise DeepECGError("the network answers with values that are no numbers: its checkpoint or its input is broken")
    return proba


def round_to_half(model: nn.Module):
    """Rounds every weight and statistic of `model` in place to the nearest half-precision value.

    A checkpoint then takes half the room and still holds the network exactly as it is evaluated.
    """
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half())


def save_checkpoint(path: Path, model: nn.Module, arguments: dict, description: Description):
    """Writes `model` (rounded by `round_to_half`), the `arguments` of its constructor and its `description`."""
    weights = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    checkpoint = {
        "format": FORMAT,
        "network": type(model).__name__,
        "arguments": arguments,
        "description": description.as_json(),
        "weights": weights,
    }
    write_torch_file(path, checkpoint)


def write_torch_file(path: Path, value: object):
    """Writes `value` as `torch.save` does, whole or not at all; its bytes depend on nothing but `value`.

    By way of memory: torch's own writing of files says of a full disk neither which file nor why.
    """
    buffer = io.BytesIO()
    torch.save(value, buffer)
    with atomic_file(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path, networks: Sequence[type[Network]], **expected) -> tuple[Network, Description]:
    """The network stored at `path`, in evaluation mode, and its description.

    `networks` are the classes that may be built; `expected` is what the description must say (mode, classes,
    features). Raises DeepECGError when the file is missing, broken, or made for something else.
    """
    checkpoint = read_torch_file(path)
    said = checkpoint if isinstance(checkpoint, dict) else {}
    description = decoded(path, said.get("format"), said.get("description"))
    description.check_made_for(path, **expected)
    known = {network.__name__: network for network in networks}
    try:
        network, arguments = known[checkpoint["network"]], checkpoint["arguments"]
        with torch.device("meta"):  # takes no memory, whatever the arguments say
            _check_weights(checkpoint["weights"], network(**arguments).state_dict(), path.stat().st_size)
        model = network(**arguments)
        model.load_state_dict(checkpoint["weights"])
    except Exception as error:  # constructors raise whatever they stumble over
        kind = type(error).__name__
        raise DeepECGError(f"checkpoint {path} does not fit its network ({kind}): train it again") from None
    return model.eval(), description


def _check_weights(weights: dict[str, Tensor], network: dict[str, Tensor], file_bytes: int):
    """ValueError unless `weights` are finite numbers in the names and shapes of `network`, as large as their file."""
    if {name: value.shape for name, value in weights.items()} != {name: v.shape for name, v in network.items()}:
        raise ValueError("other names or shapes")
    if sum(value.numel() * value.element_size() for value in weights.values()) > file_bytes:
        raise ValueError("more weights than the file can hold")
    for name, value in weights.items():
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized or value.is_complex():
            raise ValueError("weights of an unknown kind")
        if value.is_floating_point() != network[name].is_floating_point() or not value.isfinite().all():
            raise ValueError("weights that are no numbers")


def read_torch_file(path: Path, mend: str = "name the .pt of a training") -> dict:
    """What `torch.save` wrote at `path`, loading tensors and plain values only.

    Raises DeepECGError when it is missing, or with the `mend` when it is no such file.
    """
    try:
        guard.check_stored(path)
        return torch.load(path, weights_only=True, map_location=CPU)
    except FileNotFoundError:
        raise DeepECGError(f"checkpoint {path} is missing: train one with `python main.py`") from None
    except Exception as error:  # torch raises whatever its unpickler stumbles over
        raise DeepECGError(f"{path} is not a checkpoint that can be read ({type(error).__name__}): {mend}") from None
