"""Tests of quantize.py: the int8 file is smaller, says what the network in memory says, and is what is measured."""

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import quantize
from config import DATA_DIR_VARIABLE, MODES, Config
from deep_ecg.beats.arrays import Beats
from deep_ecg.beats.inputs import CHANNELS, FEATURES
from deep_ecg.deploy import dynamic_int8
from deep_ecg.deploy.dynamic_int8 import QuantizationReport, measure, quantize_dynamic, save_int8, save_weights
from deep_ecg.networks.onnx_network import OnnxNetwork
from deep_ecg.networks.torch_network import predict_proba, read_torch_file, save_checkpoint
from deep_ecg.records.database import Source
from deep_ecg.system.errors import DeepECGError
from deep_ecg.training.experiment import describe, hybrid_arguments
from model import HybridECGNet
from quantize import artefacts_table, calibration_beats


def network(preset="edge", mode="diagnostic", seed=0) -> HybridECGNet:
    torch.manual_seed(seed)
    return HybridECGNet(**hybrid_arguments(Config(mode=mode, preset=preset))).eval()


def beats(count=30, mode="diagnostic") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    windows = rng.standard_normal((count, CHANNELS, Config().window_samples)).astype(np.float32)
    return windows, rng.standard_normal((count, len(FEATURES[mode]))).astype(np.float32)


def measured(folder: Path, net: nn.Module, count: int, fp32_accuracy=1.0, proba_of=None) -> dict:
    """What `measure` says of beats that all are N, labelled by the network alone where `proba_of` does not say more."""
    tested = Beats(*beats(count), *np.zeros((5, count), np.int64))
    return measure(folder, net, fp32_accuracy, tested, proba_of or (lambda model: predict_proba(model, *beats(count))))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(dynamic_int8, "LATENCY_CALLS", 10)


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
    report = measured(tmp_path, network(), 30)
    assert set(report) == set(QuantizationReport.__dataclass_fields__)
    assert report["fp32_bytes"] == (tmp_path / "model_fp32.pt").stat().st_size
    assert report["int8_bytes"] == (tmp_path / "model_int8.pt").stat().st_size < report["fp32_bytes"]
    assert report["ratio"] == report["fp32_bytes"] / report["int8_bytes"]
    assert report["fp32_latency_us"] > 0 and report["int8_latency_us"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model_fp32.pt", "model_int8.pt"]


def test_accuracy_change_is_int8_minus_fp32(tmp_path, quick):
    """Of four beats, all N, fp32 finds three and int8 two: the change is -0.25."""
    net = network()
    called = {True: [0, 0, 0, 1], False: [0, 0, 1, 1]}
    report = measured(tmp_path, net, 4, 0.75, lambda model: np.eye(5)[called[model is net]])
    assert (report["fp32_accuracy"], report["int8_accuracy"]) == (0.75, 0.5)
    assert report["accuracy_change"] == -0.25


def test_no_warning_reaches_the_user(tmp_path, quick):
    torch.set_warn_always(True)  # some are given once a process, which another test may have used up
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            measured(tmp_path, network(), 4)
    finally:
        torch.set_warn_always(False)


def test_the_pinned_torch_still_has_the_eager_interface():
    """Where this fails, torch is newer than the eager interface: torchao has to become a requirement."""
    assert hasattr(getattr(torch.ao, "quantization", None), "quantize_dynamic")


def test_torchao_takes_over_where_the_eager_interface_is_gone(tmp_path, monkeypatch):
    """The same figures from its file, reloaded with plain values only: int8 linear layers, nearly the same answers."""
    pytest.importorskip("torchao", reason="the successor of torch's eager quantization is not installed")
    net = network("full")
    expected, eager = predict_proba(net, *beats()), predict_proba(quantize_dynamic(net), *beats())
    monkeypatch.delattr(torch.ao.quantization, "quantize_dynamic")
    reloaded = save_int8(tmp_path / "int8.pt", net)
    found = predict_proba(reloaded, *beats())
    assert np.array_equal(found, predict_proba(quantize_dynamic(net), *beats()))
    assert type(reloaded.head[1].weight) is not nn.Parameter and type(net.head[1].weight) is nn.Parameter
    assert 0 < np.abs(found - expected).max() < 2 * np.abs(eager - expected).max() + 1e-3
    assert save_weights(tmp_path / "fp32.pt", net) / (tmp_path / "int8.pt").stat().st_size >= 3.6


def test_a_torch_without_dynamic_quantization_is_a_clear_error(monkeypatch):
    monkeypatch.delattr(torch.ao.quantization, "quantize_dynamic")
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(DeepECGError, match="no quantize_dynamic.*torchao.*requirements.txt") as caught:
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
        assert dynamic_int8.latency_us(network(), *beats(1)) > 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# Every artefact ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(synthetic_db, tmp_path_factory) -> tuple[dict, Path]:
    """The report and folder of a whole build from a network of random weights and the SYNTHETIC database."""
    folder = tmp_path_factory.mktemp("build")
    config = Config(preset="edge", data_source="local", data_dir=str(synthetic_db), cache_dir=str(folder / "cache"))
    arguments = hybrid_arguments(config)
    description = describe(config, Source("local", folder), 3)
    save_checkpoint(folder / "network.pt", HybridECGNet(**arguments), arguments, description)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATA_DIR_VARIABLE, "")
        patch.setattr(dynamic_int8, "LATENCY_CALLS", 10)
        return quantize.build(config, folder / "network.pt", folder / "out"), folder / "out"


def test_build_writes_every_artefact_and_one_row_each(built):
    report, out = built
    assert json.loads((out / "quantization-diagnostic-edge-SYNTHETIC.json").read_text()) == report
    files = [row["file"] for row in report["rows"]]
    assert files[:4] == ["model_fp32.pt", "model_int8.pt", "model_fp32.onnx", "model_int8.onnx"]
    assert files[4:] == ["model.tflite", "deep_ecg_network.c"]
    keys = ["artefact", "file", "bytes", "ratio", "accuracy_change", "s_f1_change", "v_f1_change", "latency_us"]
    for row in report["rows"]:
        assert list(row) == [*keys, "needs", "runs_on"]
    for row in report["rows"][:4]:
        assert row["bytes"] == (out / row["file"]).stat().st_size
        assert row["ratio"] == (out / "model_fp32.pt").stat().st_size / row["bytes"]
        assert row["latency_us"] > 0 and abs(row["accuracy_change"]) <= 1
    assert report["rows"][0]["accuracy_change"] == 0 == report["rows"][2]["accuracy_change"]
    assert (report["mode"], report["preset"], report["seed"]) == ("diagnostic", "edge", 3)


def test_synthetic_data_are_stamped_on_report_table_and_files(built):
    report, out = built
    assert report["data_source"] == "synthetic"
    rows = artefacts_table([report]).splitlines()[2:]
    assert len(rows) == len(report["rows"]) and all(row.startswith("| SYNTHETIC diagnostic, edge") for row in rows)
    for name in ("model_fp32.onnx", "model_int8.onnx"):
        assert OnnxNetwork(out / name).description.data_source == "synthetic"


def test_table_by_hand():
    row = {
        "artefact": "C file", "file": "model.c", "bytes": 12345, "ratio": 3.4567, "accuracy_change": -0.0004,
        "s_f1_change": None, "v_f1_change": 0.01, "latency_us": None, "needs": "a C compiler", "runs_on": "all",
    }  # fmt: skip
    report = {"data_source": "local", "mode": "causal", "preset": "edge", "rows": [row]}
    cells = [cell.strip() for cell in artefacts_table([report]).splitlines()[-1].strip("|").split("|")]
    assert cells == ["causal, edge", "C file", "model.c", "12,345", "3.46", "-0.040", "-", "+1.000", "-",
                     "a C compiler", "all"]  # fmt: skip


def test_calibration_beats_are_the_same_500_each_time():
    count = 1000
    ds1 = Beats(*(np.arange(count) for _ in Beats.__dataclass_fields__))
    chosen, again = calibration_beats(ds1).labels, calibration_beats(ds1).labels
    assert len(set(chosen)) == 500 and np.array_equal(chosen, again) and np.array_equal(chosen, np.sort(chosen))
    assert len(calibration_beats(ds1.where(np.arange(count) < 20))) == 20


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["--checkpoint", "absent.pt"], "absent.pt is missing"),
        (["--checkpoint", "strange.pt"], "preset = '../edge' is unknown"),
        (["--checkpoint", "network.pt", "--mode", "causal"], "made for mode 'diagnostic', not 'causal'"),
        (["--checkpoint", "network.pt", "--out", "network.pt"], "cannot be written"),
        (["--checkpoint", "network.pt", "--preset", "edge", "--fs", "250"], "add --mode causal --preset edge"),
    ],
)
def test_wrong_options_end_with_one_line_and_status_2(arguments, named, synthetic_db, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(synthetic_db))
    config = Config(preset="edge")
    description = describe(config, Source("local", tmp_path), 0)
    for name, preset in (("network.pt", "edge"), ("strange.pt", "../edge")):
        save_checkpoint(Path(name), network(), hybrid_arguments(config), replace(description, preset=preset))
    assert quantize.main(arguments) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and named in errors[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.pt", "strange.pt"]
