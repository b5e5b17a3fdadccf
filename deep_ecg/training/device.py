"""What trains: the processor, or a GPU where there is one. All else of a run is done by the processor."""

import torch

from deep_ecg.networks.torch_network import CPU
from deep_ecg.system.errors import DeepECGError
from deep_ecg.training import processes

CUDA = torch.device("cuda:0")


def device_of(setting: str) -> torch.device:
    """The device that the setting `device` of config.py asks for; "auto": a GPU where torch finds one.

    Processes that torchrun has started train on the processor. DeepECGError where "cuda" cannot be had.
    """
    if setting == "cpu" or (setting == "auto" and (processes.size() > 1 or not torch.cuda.is_available())):
        return CPU
    if processes.size() > 1:
        raise DeepECGError(
            "setting device = 'cuda' is for one process: set it to 'auto' or 'cpu', or leave out torchrun"
        )
    if not torch.cuda.is_available():
        raise DeepECGError(
            f"setting device = 'cuda': torch {torch.__version__} finds no GPU here: set it to 'auto' or 'cpu', or "
            "install the GPU's driver and a torch built for CUDA"
        )
    return CUDA
