"""Tests of model.py: shapes, presets, structure and normalisation of `HybridECGNet`."""

import math

import pytest
import torch
from torch import nn

from config import MODES, PRESETS, Config
from deep_ecg.beats.inputs import CHANNELS, FEATURES
from deep_ecg.training.experiment import hybrid_arguments
from model import FeatureMLP, HybridECGNet, QuickDropout, WaveCNN

VARIANTS = [(mode, preset) for mode in MODES for preset in PRESETS]
SMALL = {
    "feature_count": 4, "channels": (4, 6, 8), "kernels": (7, 5, 5), "flatten": False, "feature_hidden": 32,
    "hidden": 8, "dropout": 0.3, "flatten_dropout": 0.5, "wave_dropout": 0.5, "window_samples": 64, "input_channels": 1,
}  # fmt: skip


def build(mode="diagnostic", preset="edge") -> HybridECGNet:
    torch.manual_seed(0)
    return HybridECGNet(**hybrid_arguments(Config(mode=mode, preset=preset))).eval()


def inputs(net: HybridECGNet, beats: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    windows = torch.randn(beats, CHANNELS, Config().window_samples, generator=generator)
    return windows, torch.randn(beats, len(net.features.mean), generator=generator)


def kinds(module: nn.Module, kind: type) -> list[nn.Module]:
    return [part for part in module.modules() if isinstance(part, kind)]


@pytest.mark.parametrize("mode, preset", VARIANTS)
@pytest.mark.parametrize("beats", [1, 3, 17])
def test_one_row_of_five_logits_for_each_beat(mode, preset, beats):
    net = build(mode, preset)
    assert len(net.features.mean) == len(FEATURES[mode])
    assert net(*inputs(net, beats)).shape == (beats, 5)


def test_the_mode_needs_its_own_number_of_features():
    diagnostic, causal = build("diagnostic"), build("causal")
    windows, features = inputs(diagnostic, 2)
    with pytest.raises(RuntimeError):
        causal(windows, features)


@pytest.mark.parametrize("mode, preset", VARIANTS)
def test_three_convolution_blocks(mode, preset):
    net = build(mode, preset)
    assert len(net.wave) == 3
    for block in net.wave:
        assert sorted(type(part).__name__ for part in block) == ["BatchNorm1d", "Conv1d", "MaxPool1d", "ReLU"]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_block_is_relu_of_the_normalised_convolution_then_max_pool(preset):
    net = build(preset=preset)
    windows, _ = inputs(net, 4)
    convolution, normalisation = kinds(net.wave[0], nn.Conv1d)[0], kinds(net.wave[0], nn.BatchNorm1d)[0]
    expected = nn.functional.max_pool1d(nn.functional.relu(normalisation(convolution(windows))), 2)
    torch.testing.assert_close(net.wave[0](windows), expected, rtol=0, atol=0)


def test_training_runs_the_same_layers_in_another_layout():
    """Forward, gradients and the statistics of BatchNorm equal those of torch's one-dimensional layers in turn."""
    torch.manual_seed(0)
    quick, plain = WaveCNN((2, 8, 6, 4), (7, 5, 3)), WaveCNN((2, 8, 6, 4), (7, 5, 3))
    plain.load_state_dict(quick.state_dict())
    windows = torch.randn(12, 2, 64)
    expected = windows
    for block in plain:
        expected = block(expected)
    result = quick(windows)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
    weights = torch.randn(result.shape)
    for output in (result, expected):
        (output * weights).sum().backward()
    for one, other in zip(quick.parameters(), plain.parameters()):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-4)
    for one, other in zip(quick, plain):
        torch.testing.assert_close(one[1].running_mean, other[1].running_mean)
        torch.testing.assert_close(one[1].running_var, other[1].running_var)


@pytest.mark.parametrize("share, hidden", [(0.0, 0), (0.25, 10), (0.5, 20)])
def test_in_training_the_head_sees_no_waveform_of_a_share_of_the_beats(share, hidden):
    """Of 40 beats; which ones is drawn anew each time."""
    net = HybridECGNet(**SMALL | {"wave_dropout": share}).train()
    seen = []
    net.head.register_forward_pre_hook(lambda head, inputs: seen.append(inputs[0][:, :8]))
    beats = torch.randn(40, 1, 64), torch.randn(40, 4)
    for _ in range(2):
        net(*beats)
    blank = [(rows == 0).all(dim=1) for rows in seen]
    assert [int(rows.sum()) for rows in blank] == [hidden] * 2
    assert hidden == 0 or not torch.equal(*blank)
    net.eval()(*beats)
    assert not (seen[2] == 0).all(dim=1).any()


def test_in_training_the_head_sees_no_waveform_of_beats_without_a_signal():
    net = HybridECGNet(**SMALL | {"wave_dropout": 0.0}).train()
    seen = []
    net.head.register_forward_pre_hook(lambda head, inputs: seen.append(inputs[0][:, :8]))
    windows = torch.randn(40, 1, 64)
    windows[::4] = 0
    net(windows, torch.randn(40, 4))
    assert (seen[0] == 0).all(dim=1).tolist() == [beat % 4 == 0 for beat in range(40)]


def test_quick_dropout_drops_its_share_and_keeps_the_mean():
    """A million values: the share that is kept has a standard deviation of 0.0003, the mean one of 0.003."""
    torch.manual_seed(0)
    dropout, values = QuickDropout(0.9), torch.ones(1000, 1000)
    dropped = dropout(values)
    assert dropped.unique().tolist() == pytest.approx([0.0, 10.0])
    assert float((dropped > 0).float().mean()) == pytest.approx(0.1, abs=0.0015)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.015)
    assert torch.equal(dropout.eval()(values), values)


@pytest.mark.parametrize("preset", PRESETS)
def test_head_takes_pooled_and_rhythm_features_and_the_map_where_flattened(preset):
    shape, net = PRESETS[preset], build(preset=preset)
    pooled, mapped = shape.channels[-1], shape.channels[-1] * Config().window_samples // 8
    expected = pooled + shape.feature_hidden + (mapped if shape.flatten else 0)
    assert kinds(net.head, nn.Linear)[0].in_features == expected


@pytest.mark.parametrize("preset", PRESETS)
def test_dropout_of_the_head_is_the_one_configured(preset):
    assert Config().dropout == 0.3
    assert {part.p for part in kinds(build(preset=preset).head, nn.Dropout)} == {0.3}


def test_full_has_about_1_2_million_parameters():
    count = sum(p.numel() for p in build(preset="full").parameters())
    assert 1.1e6 < count < 1.35e6


@pytest.mark.parametrize("mode", MODES)
def test_edge_fits_15_kb_at_a_byte_a_weight(mode):
    assert sum(p.numel() for p in build(mode, "edge").parameters()) <= 15_000


@pytest.mark.parametrize("preset", PRESETS)
def test_evaluation_is_deterministic_and_training_is_not(preset):
    net = build(preset=preset)
    beats = inputs(net, 8)
    assert torch.equal(net(*beats), net(*beats))
    net.train()
    assert not torch.equal(net(*beats), net(*beats))


@pytest.mark.parametrize("preset", PRESETS)
def test_logits_of_a_beat_do_not_depend_on_its_batch(preset):
    net = build(preset=preset)
    windows, features = inputs(net, 8)
    alone = net(windows[:1], features[:1])
    other_windows, other_features = inputs(net, 8, seed=2)
    other_windows[0], other_features[0] = windows[0], features[0]
    assert torch.equal(net(windows, features)[0], net(other_windows, other_features)[0])
    torch.testing.assert_close(net(windows, features)[:1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_both_streams_reach_the_logits(preset):
    net = build(preset=preset)
    beats = [part.requires_grad_() for part in inputs(net, 4)]
    net(*beats).sum().backward()
    assert all((part.grad != 0).any() for part in beats)


def test_normalisation_is_part_of_the_state():
    state = build().state_dict()
    assert {"features.mean", "features.scale"} <= set(state)
    assert {"wave.0.1.running_mean", "wave.0.1.running_var"} <= set(state)


def test_normalisation_of_three_beats_by_hand():
    mlp = FeatureMLP(3, 4)
    mlp.set_normalisation(torch.tensor([[1.0, 10.0, 7.0], [2.0, 30.0, 7.0], [3.0, 50.0, 7.0]]))
    torch.testing.assert_close(mlp.mean, torch.tensor([2.0, 30.0, 7.0]))
    torch.testing.assert_close(mlp.scale[:2], torch.tensor([1.0, 20.0]))  # n - 1 in the denominator
    assert mlp.scale[2] > 0  # a constant feature
    assert torch.isfinite(mlp(torch.tensor([[1.0, 10.0, 8.0]]))).all()


def test_units_of_a_feature_do_not_matter():
    """Seconds or milliseconds: normalised, they are the same."""
    mlp, features = FeatureMLP(2, 4), torch.tensor([[0.8, 1.0], [0.6, 0.7], [1.1, 1.4]])
    mlp.set_normalisation(features)
    expected = mlp(features)
    mlp.set_normalisation(1000 * features)
    torch.testing.assert_close(mlp(1000 * features), expected)


@pytest.mark.parametrize("window_samples", [64, 280, 512])
def test_any_window_that_is_a_multiple_of_eight(window_samples):
    net = HybridECGNet(**SMALL | {"window_samples": window_samples, "flatten": True})
    assert net(torch.zeros(2, 1, window_samples), torch.zeros(2, 4)).shape == (2, 5)


def test_initial_loss_is_near_that_of_guessing():
    """An untrained network must not be sure of anything: ln 5 for five classes."""
    net = build(preset="edge")
    loss = nn.functional.cross_entropy(net(*inputs(net, 500)), torch.arange(500) % 5)
    assert loss.item() == pytest.approx(math.log(5), abs=0.15)
