"""Tests of quantize.py: the int8 file is smaller, says what the network in memory says, and is what is measured."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import quantize
from config import MODES, Config, DeepECGError
from engine import predict_proba, read_torch_file
from features import CHANNELS, FEATURES
from model import HybridECGNet
from pipeline import hybrid_arguments
from quantize import QuantizationReport, measure, quantize_dynamic, save_int8, save_weights


def network(preset="edge", mode="diagnostic", seed=0) -> HybridECGNet:
    torch.manual_seed(seed)
    return HybridECGNet(**hybrid_arguments(Config(mode=mode, preset=preset))).eval()


def beats(count=30, mode="diagnostic") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    windows = rng.standard_normal((count, CHANNELS, Config().window_samples)).astype(np.float32)
    return windows, rng.standard_normal((count, len(FEATURES[mode]))).astype(np.float32)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(quantize, "LATENCY_CALLS", 10)


@pytest.mark.parametrize("mode", MODES)
def test_full_shrinks_at_least_3_6_times(tmp_path, mode):
    """The sizes do not depend on what the weights are."""
    net = network("full", mode)
    fp32_bytes = save_weights(tmp_path / "fp32.pt", net)
    save_int8(tmp_path / "int8.pt", net)
    assert fp32_bytes / (tmp_path / "int8.pt").stat().st_size >= 3.6


def test_fp32_file_takes_four_bytes_a_weight(tmp_path):
    net = network("full")
    values = sum(value.numel() for value in net.state_dict().values())
    assert save_weights(tmp_path / "fp32.pt", net) == pytest.approx(4 * values, rel=0.01)


@pytest.mark.parametrize("preset", ["full", "edge"])
def test_the_reloaded_network_equals_the_one_in_memory_to_the_bit(tmp_path, preset):
    net = network(preset)
    reloaded = save_int8(tmp_path / "int8.pt", net)
    assert not reloaded.training
    assert np.array_equal(predict_proba(reloaded, *beats()), predict_proba(quantize_dynamic(net), *beats()))


def test_the_file_alone_holds_the_network(tmp_path):
    """Loaded over another network, the file gives back the first."""
    net, other = network(seed=0), quantize_dynamic(network(seed=1))
    save_int8(tmp_path / "int8.pt", net)
    expected = predict_proba(quantize_dynamic(net), *beats())
    assert not np.array_equal(predict_proba(other, *beats()), expected)
    other.load_state_dict(read_torch_file(tmp_path / "int8.pt"))
    assert np.array_equal(predict_proba(other, *beats()), expected)


def test_linear_layers_become_int8_and_convolutions_stay():
    net = quantize_dynamic(network())
    parts = list(net.modules())
    dynamic = [part for part in parts if isinstance(part, torch.ao.nn.quantized.dynamic.Linear)]
    assert len(dynamic) == 4  # two of the features' MLP, two of the head
    assert all(part.weight().dtype == torch.qint8 for part in dynamic)
    assert not any(type(part) is nn.Linear for part in parts)
    assert sum(isinstance(part, nn.Conv1d) for part in parts) == 3


def test_int8_weights_are_the_nearest_of_256_levels():
    """Symmetric quantization of a layer: each weight moves by at most half a step of its largest over 127.5."""
    net = network()
    before = net.head[1].weight.detach()
    after = quantize_dynamic(net).head[1].weight().dequantize()
    assert (before - after).abs().max() <= 0.5001 * before.abs().max() / 127


def test_the_network_itself_is_left_as_it_was(tmp_path):
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    save_int8(tmp_path / "int8.pt", net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_measure_reports_what_lies_in_the_folder(tmp_path, quick):
    labels = np.zeros(30, np.int64)
    report = measure(tmp_path, network(), *beats(), labels)
    assert set(report) == set(QuantizationReport.__dataclass_fields__)
    assert report["fp32_bytes"] == (tmp_path / "model_fp32.pt").stat().st_size
    assert report["int8_bytes"] == (tmp_path / "model_int8.pt").stat().st_size < report["fp32_bytes"]
    assert report["ratio"] == report["fp32_bytes"] / report["int8_bytes"]
    assert report["fp32_latency_us"] > 0 and report["int8_latency_us"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model_fp32.pt", "model_int8.pt"]


def test_accuracy_change_is_int8_minus_fp32(tmp_path, quick, monkeypatch):
    """Of four beats, all N, fp32 finds three and int8 two: the change is -0.25."""
    net = network()
    called = {True: [0, 0, 0, 1], False: [0, 0, 1, 1]}
    monkeypatch.setattr(quantize, "predict_proba", lambda model, *_: np.eye(5)[called[model is net]])
    report = measure(tmp_path, net, *beats(4), np.zeros(4, np.int64))
    assert (report["fp32_accuracy"], report["int8_accuracy"]) == (0.75, 0.5)
    assert report["accuracy_change"] == -0.25


def test_no_warning_reaches_the_user(tmp_path, quick):
    torch.set_warn_always(True)  # some are given once a process, which another test may have used up
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            measure(tmp_path, network(), *beats(4), np.zeros(4, np.int64))
    finally:
        torch.set_warn_always(False)


def test_a_torch_without_dynamic_quantization_is_a_clear_error(monkeypatch):
    monkeypatch.delattr(torch.ao.quantization, "quantize_dynamic")
    with pytest.raises(DeepECGError, match="no quantize_dynamic.*requirements.txt") as caught:
        quantize_dynamic(network())
    assert "\n" not in str(caught.value)


def test_an_unwritable_folder_is_a_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DeepECGError, match="cannot be written"):
        save_int8(tmp_path / "file" / "int8.pt", network())


def test_latency_leaves_the_threads_as_they_were(quick):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert quantize.latency_us(network(), *beats(1)) > 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
