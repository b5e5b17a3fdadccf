"""A GPU that is none, for machines without one: tensors on torch's device "meta" that the processor computes after all.

As on a real one, an operation on tensors of both devices is refused, but for scalars: what forgets to move a tensor, or
makes a new one in the wrong place, fails here too. Random numbers are those of the processor's generator, so that
results are the same to the bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.optim import optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("meta")
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class OnGpu(torch.Tensor):
    """A tensor on the pretended GPU; `here` is the same one on the processor."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor):
        shape = here.shape, here.stride(), here.storage_offset()
        made = torch.Tensor._make_wrapper_subclass(cls, *shape, dtype=here.dtype, device=GPU)
        made.here = here
        return made

    def __reduce_ex__(self, protocol):
        """Written to a file as it is on the processor, where it is read back to."""
        return self.here.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return computed(function, args, kwargs or {})


class PretendGpu(TorchDispatchMode):
    """Also for what makes a tensor of none."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return computed(function, args, kwargs or {})


def computed(function, args: tuple, kwargs: dict):
    """What the processor makes of the operation; its result is where its tensors are, or where it is asked for."""
    tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
    there = {id(one.here): one for one in tensors if isinstance(one, OnGpu)}
    if there and function not in MOVES and any(one.dim() and not isinstance(one, OnGpu) for one in tensors):
        raise RuntimeError(f"Expected all tensors to be on the same device: {function}")
    device = kwargs.get("device")
    to_gpu = bool(there) if device is None else torch.device(device) == GPU
    args, kwargs = tree_map(lambda one: getattr(one, "here", one), (args, kwargs))
    result = function(*args, **(kwargs if device is None else kwargs | {"device": "cpu"}))

    def placed(one: object) -> object:
        if not to_gpu or not isinstance(one, torch.Tensor):
            return one
        return there[id(one)] if id(one) in there else OnGpu(one)

    return tree_map(placed, result)


@contextmanager
def pretended_gpu() -> Iterator[torch.device]:
    """While the block lasts, torch finds a GPU, on the device that is given."""
    with pytest.MonkeyPatch.context() as patch, PretendGpu():
        patch.setattr(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True)  # .data loses it
        patch.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: ["cpu", "cuda", GPU.type])
        patch.setattr(torch.cuda, "get_rng_state", torch.get_rng_state)
        patch.setattr(torch.cuda, "set_rng_state", torch.set_rng_state)
        yield GPU
