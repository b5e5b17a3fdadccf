"""Tests of experimental_transformer.py: its attention against torch's own, int8, and the benchmark from end to end."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

import config as settings
import experimental_transformer
from config import MODES, Config
from deep_ecg.beats.inputs import CHANNELS, FEATURES
from deep_ecg.deploy import dynamic_int8
from deep_ecg.networks.torch_network import predict_proba
from deep_ecg.system.errors import DeepECGError
from experimental_transformer import ECGTransformer, SelfAttention, benchmark, benchmark_table, contenders


def network(mode="diagnostic") -> ECGTransformer:
    torch.manual_seed(0)
    arguments = next(arguments for _, _, kind, arguments in contenders(Config(mode=mode)) if kind is ECGTransformer)
    return ECGTransformer(**arguments).eval()


def inputs(beats: int, mode="diagnostic", seed=1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    windows = torch.randn(beats, CHANNELS, Config().window_samples, generator=generator)
    return windows, torch.randn(beats, len(FEATURES[mode]), generator=generator)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("beats", [1, 6])
def test_one_row_of_five_logits_for_each_beat(mode, beats):
    assert network(mode)(*inputs(beats, mode)).shape == (beats, 5)


def test_attention_equals_that_of_torch():
    """With the same weights, `nn.MultiheadAttention` is the reference."""
    torch.manual_seed(0)
    own, reference = SelfAttention(16, 4, dropout=0.0).eval(), nn.MultiheadAttention(16, 4, batch_first=True).eval()
    with torch.no_grad():
        reference.in_proj_weight.copy_(own.project_in.weight)
        reference.in_proj_bias.copy_(own.project_in.bias)
        reference.out_proj.weight.copy_(own.project_out.weight)
        reference.out_proj.bias.copy_(own.project_out.bias)
    tokens = torch.randn(3, 7, 16)
    expected, _ = reference(tokens, tokens, tokens, need_weights=False)
    torch.testing.assert_close(own(tokens), expected, rtol=1e-5, atol=1e-6)


def test_the_place_of_a_wave_in_the_window_matters():
    net, (windows, features) = network(), inputs(2)
    assert not torch.allclose(net(windows, features), net(windows.roll(140, dims=2), features), atol=1e-4)


def test_logits_of_a_beat_do_not_depend_on_its_batch():
    net, (windows, features), other = network(), inputs(8), inputs(8, seed=2)
    other[0][0], other[1][0] = windows[0], features[0]
    torch.testing.assert_close(net(windows, features)[0], net(*other)[0], rtol=1e-4, atol=1e-5)


def test_every_weight_learns():
    net = network()
    nn.functional.cross_entropy(net(*inputs(16)), torch.arange(16) % 5).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for _, p in net.named_parameters())


def test_int8_runs_after_reloading_and_is_smaller(tmp_path):
    net = network()
    fp32_bytes = dynamic_int8.save_weights(tmp_path / "fp32.pt", net)
    reloaded = dynamic_int8.save_int8(tmp_path / "int8.pt", net)
    beats = [part.numpy() for part in inputs(20)]
    assert (tmp_path / "int8.pt").stat().st_size < fp32_bytes / 2
    assert np.array_equal(predict_proba(reloaded, *beats), predict_proba(dynamic_int8.quantize_dynamic(net), *beats))
    np.testing.assert_allclose(predict_proba(reloaded, *beats), predict_proba(net, *beats), atol=0.1)


def test_the_benchmark_writes_its_table_stamped_synthetic(synthetic_db, tmp_path, monkeypatch, capsys):
    for name, preset in settings.PRESETS.items():
        monkeypatch.setitem(settings.PRESETS, name, dataclasses.replace(preset, epochs=1))
    monkeypatch.setattr(dynamic_int8, "LATENCY_CALLS", 10)
    monkeypatch.setenv(settings.DATA_DIR_VARIABLE, str(synthetic_db))
    directories = {"runs_dir": str(tmp_path / "runs"), "cache_dir": str(tmp_path / "cache")}
    result = benchmark(Config(data_source="local", threads=1, replays=1, **directories))
    folder = tmp_path / "runs" / "transformer-diagnostic-SYNTHETIC"
    assert json.loads((folder / "benchmark.json").read_text()) == result
    assert result["data_source"] == "synthetic"
    assert (folder / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    table = (folder / "benchmark.md").read_text()
    assert "SYNTHETIC" in table and "SYNTHETIC" in capsys.readouterr().out
    assert [row["name"] for row in result["rows"]] == ["hybrid, full", "hybrid, edge", "Transformer"]
    assert all(row["name"] in table for row in result["rows"])
    for row in result["rows"]:
        assert 0 <= row["accuracy"] <= 1 and 0 <= row["v_se"] <= 1
        assert min(row[key] for key in ("parameters", "int8_bytes", "train_s", "latency_us")) > 0
    assert not list(folder.rglob("resume.pt"))


def test_the_table_by_hand():
    row = {"name": "Transformer", "accuracy": 0.954, "v_se": 0.91, "v_f1": 0.925, "s_f1": None} | {
        "parameters": 123456,
        "int8_bytes": 98765,
        "train_s": 61.4,
        "latency_us": 812.3,
    }
    table = benchmark_table({"data_source": "local", "rows": [row]})
    cells = [cell.strip() for cell in table.splitlines()[-1].strip("|").split("|")]
    assert cells == ["Transformer", "95.4 %", "91.0 %", "92.5 %", "0.0 %", "123,456", "98,765", "61 s", "812 µs"]
    assert "SYNTHETIC" not in table


@pytest.mark.parametrize("error, status", [(DeepECGError("no data"), 2), (KeyboardInterrupt(), 130), (None, 0)])
def test_exit_status(monkeypatch, capsys, error, status):
    def stand_in(config):
        if error is not None:
            raise error

    monkeypatch.setattr(experimental_transformer, "benchmark", stand_in)
    assert experimental_transformer.main(["--mode", "causal"]) == status
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == (status != 0)
