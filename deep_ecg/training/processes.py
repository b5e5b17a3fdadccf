"""One training by several processes, on one machine or many, under PyTorch's own launcher.

`torchrun --nproc-per-node 2 main.py` starts them: each trains on the patients of its own share, and the gradients are
averaged after every batch (DistributedDataParallel). The first process prepares the data, evaluates, and alone writes.
All that is here does nothing where one process works alone.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from deep_ecg.beats.arrays import stretches_of
from deep_ecg.system.errors import DeepECGError

# torch is imported by the functions that need it: `predict` and `stream` run where it is not installed.
if TYPE_CHECKING:
    from torch import nn

    from model import FeatureMLP

PATIENCE = timedelta(days=1)  # for so long the others wait while the first prepares the data
RELEASE_S = 0.2  # DistributedDataParallel keeps gloo's threads; one that still held a tensor would abort Python's end
AGAIN = "and start the same command again, which goes on from the last whole epoch"
SEED_STEP = 1_000_003  # between the seeds of two processes, further apart than the seeds that anyone lists


def size() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """The number of this process among them, from 0."""
    return int(os.environ.get("RANK", 0))


def is_first() -> bool:
    """Whether this process is the one that writes: the first, or the only one."""
    return rank() == 0


def refuse():
    """Raises DeepECGError where torchrun has started what one process has to do alone."""
    if size() > 1:
        raise DeepECGError("torchrun is for training alone: start this command with python")


@contextmanager
def group() -> Iterator[None]:
    """Joins the processes that torchrun has started while the block lasts; only the first one prints.

    Raises DeepECGError where they cannot meet, and in each of the others when one of them has ended too soon.
    """
    if size() == 1:
        yield
        return
    import torch.distributed as dist

    try:
        dist.init_process_group("gloo", timeout=PATIENCE)
    except (ValueError, RuntimeError) as error:  # of what torchrun sets in the environment; of the network
        raise DeepECGError(f"the {size()} processes cannot meet: start them with torchrun ({error})") from None
    if not is_first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as the process lasts
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):  # gloo's errors name its source files
            raise
        raise DeepECGError(f"process {rank()} of {size()} has lost another one: see what it said, {AGAIN}") from None
    finally:
        dist.destroy_process_group()
        time.sleep(RELEASE_S)


def wait():
    """Goes on when every process has come so far."""
    if size() > 1:
        import torch.distributed as dist

        dist.barrier()


def from_first(value: object) -> object:
    """The `value` of the first process."""
    if size() == 1:
        return value
    import torch.distributed as dist

    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def gathered(value: object) -> list:
    """The `value` of each process, in their order."""
    if size() == 1:
        return [value]
    import torch.distributed as dist

    values = [None] * size()
    dist.all_gather_object(values, value)
    return values


def share_of(records: np.ndarray, left_out: Sequence[str] = ()) -> list[str]:
    """The records that this process trains on, from the records (beats,) that the training beats are of.

    Each record but those `left_out`, the longest first, goes to the process that has the fewest beats yet. Raises
    DeepECGError where there are more processes than records.
    """
    beats: Counter[str] = Counter()
    for name, first, end in stretches_of(records):
        beats[name] += end - first
    names = sorted(beats.keys() - set(left_out))
    counts = np.array([beats[name] for name in names], int)
    if len(names) < size():
        raise DeepECGError(f"{size()} processes for {len(names)} training records: give torchrun fewer processes")
    loads, mine = np.zeros(size()), []
    for at in np.argsort(-counts, kind="stable"):
        process = int(loads.argmin())
        loads[process] += counts[at]
        if process == rank():
            mine.append(names[at])
    return mine


def part_of(batch_size: int) -> int:
    """How many beats of a batch are this process's. Raises DeepECGError where they cannot be shared evenly."""
    if batch_size % size():
        raise DeepECGError(f"setting batch_size = {batch_size} is not a multiple of the {size()} processes of torchrun")
    return batch_size // size()


def own_seed(seed: int) -> int:
    """A seed of this process's own; the first one's is `seed` itself."""
    return seed + SEED_STEP * rank()


def joined(model: "nn.Module", seed: int) -> "nn.Module":
    """`model` with the weights of the first process's, and gradients that are averaged over all in the backward pass.

    From here on each process draws its own random numbers (dropout).
    """
    if size() == 1:
        return model
    import torch
    from torch.nn.parallel import DistributedDataParallel

    torch.manual_seed(own_seed(seed))
    return DistributedDataParallel(model, forward_sync_buffers=False)


def average_buffers(*models: "nn.Module"):
    """Gives the statistics of BatchNorm of each model the mean of all processes; it normalises by its own meanwhile."""
    if size() == 1:
        return
    import torch.distributed as dist

    for buffer in (buffer for model in models for buffer in model.buffers() if buffer.is_floating_point()):
        dist.all_reduce(buffer)
        buffer /= size()


def pool_normalisation(features: "FeatureMLP", beats: int):
    """Gives `features`, normalised by the `beats` of this process, mean and deviation of those of all."""
    if size() == 1:
        return
    import torch
    import torch.distributed as dist

    mean, scale = features.get_buffer("mean"), features.get_buffer("scale")
    own, variance = mean.double(), scale.double() ** 2
    sums = torch.stack([torch.full_like(own, beats), beats * own, (beats - 1) * variance + beats * own**2])
    dist.all_reduce(sums)
    count, total, squares = sums
    mean.copy_(total / count)
    scale.copy_(((squares - total**2 / count) / (count - 1)).sqrt())
