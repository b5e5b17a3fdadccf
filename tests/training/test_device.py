"""Tests of device.py, and of training on another device than the processor: a pretended one, or a GPU."""

from dataclasses import replace

import pytest
import torch

import main
from deep_ecg.networks.torch_network import predict_logits
from deep_ecg.system.errors import DeepECGError
from deep_ecg.training.device import CPU, CUDA, device_of
from model import HybridECGNet
from tests.support.pretend_gpu import pretended_gpu
from tests.training.test_engine import SCHEDULE, SMALL, BeatTensors, copy_of, engine, fit, same_bits, toy_beats


def network(device: torch.device = CPU, flatten: bool = True) -> HybridECGNet:
    engine.seed_everything(0, device)
    return HybridECGNet(**SMALL | {"flatten": flatten})


@pytest.fixture
def beats():
    return BeatTensors(*toy_beats(192, seed=1)), BeatTensors(*toy_beats(60, seed=2))


@pytest.fixture
def gpu(monkeypatch):
    """Says whether torch finds a GPU."""
    return lambda found: monkeypatch.setattr(torch.cuda, "is_available", lambda: found)


@pytest.mark.parametrize("found, setting, device", [
    (False, "auto", CPU), (True, "auto", CUDA), (False, "cpu", CPU), (True, "cpu", CPU), (True, "cuda", CUDA),
])  # fmt: skip
def test_the_device_is_what_the_setting_says_and_auto_a_gpu_where_there_is_one(gpu, found, setting, device):
    gpu(found)
    assert device_of(setting) == device


def test_processes_that_train_together_do_so_on_the_processor(gpu, monkeypatch):
    gpu(True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert device_of("auto") == CPU
    with pytest.raises(DeepECGError, match="setting device = 'cuda' is for one process.*torchrun"):
        device_of("cuda")


def test_a_gpu_that_is_not_there_is_one_line_before_anything_is_done(gpu, tmp_path, monkeypatch, capsys):
    gpu(False)
    monkeypatch.chdir(tmp_path)
    assert main.main(["--device", "cuda", "--data-source", "synthetic"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and not list(tmp_path.iterdir())
    assert "setting device = 'cuda': torch" in said.err and "set it to 'auto' or 'cpu'" in said.err


@pytest.mark.parametrize("flatten", [True, False])
def test_on_another_device_everything_is_moved_there_and_the_network_comes_back(beats, flatten):
    """The pretended device refuses what is not on it, and draws and computes as the processor does."""
    here = network(flatten=flatten)
    history = fit(here, *beats)
    there = network(flatten=flatten)
    with pretended_gpu() as device:
        assert fit(there, *beats, device=device) == history
    assert all(value.device == CPU for value in there.state_dict().values())
    assert same_bits(copy_of(here), copy_of(there))


@pytest.mark.filterwarnings("ignore:for .* meta parameter")
def test_a_training_on_another_device_is_gone_on_from_too(beats, tmp_path):
    state, undisturbed = tmp_path / "resume.pt", network()
    fit(undisturbed, *beats)

    def stop(entry):
        if entry["epoch"] == 2:
            raise KeyboardInterrupt

    with pretended_gpu() as device:
        with pytest.raises(KeyboardInterrupt):
            fit(network(), *beats, state_path=state, on_epoch=stop, device=device)
        resumed = network()
        fit(resumed, *beats, state_path=state, device=device)
    assert same_bits(copy_of(resumed), copy_of(undisturbed))


def test_the_pretended_device_refuses_what_was_not_moved(beats):
    with pretended_gpu() as device:
        model = network().to(device)
        with pytest.raises(RuntimeError, match="same device"):
            model(beats[0].windows, beats[0].features)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_gpu_trains_as_well_as_the_processor(beats):
    """The toy classes can be told apart; both do, though their random numbers and rounding differ."""
    for device in (CPU, CUDA):
        model = network(device)
        fit(model, *beats, schedule=replace(SCHEDULE, epochs=20), device=device)
        called = predict_logits(model, beats[1].windows, beats[1].features).argmax(dim=1)
        assert (called == beats[1].labels).float().mean() > 0.95
