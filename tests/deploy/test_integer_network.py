"""Tests of integer_network.py: TFLite's published arithmetic by hand-worked values, folding against torch."""

import numpy as np
import pytest
import torch

from config import DS1, MODES, Config
from data_loader import load_beats
from deep_ecg.beats.inputs import CHANNELS, FEATURES
from deep_ecg.deploy.integer_network import (
    METHODS,
    SCALE_BITS,
    Calibration,
    FloatLayer,
    Scaling,
    folded,
    integer_layer,
    measured_scaling,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    quantized,
    scaling_of,
    spread_by_class,
)
from deep_ecg.networks.classifier import PRETRAINED
from deep_ecg.networks.torch_network import load_checkpoint, predict_logits
from deep_ecg.records.database import Source
from deep_ecg.system.errors import DeepECGError
from model import HybridECGNet
from tests.support.networks import integer_network, made_up_beats, network

# Fixed-point arithmetic


@pytest.mark.parametrize(
    "factor, expected",
    [(0.5, (2**30, 0)), (1.0, (2**30, 1)), (0.25, (2**30, -1)), (0.75, (3 * 2**29, 0)), (0.0, (0, 0))]
    + [(1 - 2.0**-33, (2**30, 1)), (2.0**-40, (0, 0))],  # rounds up to 2 ** 31, which is halved; too small for a shift
)
def test_a_factor_becomes_a_31_bit_fraction_and_a_shift(factor, expected):
    assert quantize_multiplier(factor) == expected


@pytest.mark.parametrize(
    "value, factor, expected",
    [
        (3, 0.5, 2),  # 1.5: the doubled high product rounds halves up
        (-3, 0.5, -1),  # -1.5: up again
        (6, 0.25, 2),  # 3 after the product, 1.5 before the shift, which rounds halves away from zero
        (-6, 0.25, -2),
        (2, 0.25, 1),  # 0.5
        (-2, 0.25, -1),
        (5, 0.25, 2),  # 1.25, but rounded twice: 2.5 -> 3, 1.5 -> 2
        (1000, 0.75, 750),
        (-1001, 0.75, -751),  # -750.75
    ],
)
def test_products_are_rounded_twice(value, factor, expected):
    multiplier, shift = quantize_multiplier(factor)
    product = multiply_by_quantized_multiplier(np.array([value]), np.array([multiplier]), np.array([shift]))
    assert product.tolist() == [expected]


def test_random_products_agree_with_the_definition_of_gemmlowp():
    """SaturatingRoundingDoublingHighMul, then RoundingDivideByPOT, written out in Python's unbounded whole numbers."""

    def by_definition(value: int, multiplier: int, shift: int) -> int:
        product = value * multiplier
        nudge = 2**30 if product >= 0 else 1 - 2**30
        total = product + nudge
        high = abs(total) // 2**31 * (1 if total >= 0 else -1)
        mask = 2**-shift - 1
        return (high >> -shift) + ((high & mask) > (mask >> 1) + (high < 0))

    rng = np.random.default_rng(0)
    values = rng.integers(-(2**24), 2**24, 2000)
    multipliers, shifts = rng.integers(2**30, 2**31, 2000), -rng.integers(0, 20, 2000)
    expected = [by_definition(*(int(part) for part in row)) for row in zip(values, multipliers, shifts)]
    assert multiply_by_quantized_multiplier(values, multipliers, shifts).tolist() == expected


def test_values_are_rounded_away_from_zero_and_clamped():
    scaling = Scaling(np.float32(0.5), 10)
    values = np.array([0, 0.25, -0.25, 0.74, -0.76, 100, -100, 1e30], np.float32)
    assert scaling.quantize(values).tolist() == [10, 11, 9, 11, 8, 127, -128, 127]


def test_a_scaling_spans_its_range_and_holds_zero():
    scaling = scaling_of(-1.0, 3.0)
    assert scaling.real(np.array([-128, 127])) == pytest.approx([-1, 3], abs=float(scaling.scale))
    assert scaling.real(np.array([scaling.zero_point])).tolist() == [0]
    assert scaling_of(0.5, 3.0) == scaling_of(0.0, 3.0)  # as after a ReLU
    assert scaling_of(0.0, 3.0).zero_point == -128


def test_the_product_of_two_scales_is_the_same_in_single_and_double_precision():
    """TFLite multiplies scales in float32 for dense layers and in float64 for convolutions."""
    rng = np.random.default_rng(0)
    scales = [scaling_of(0, high).scale for high in rng.uniform(1e-3, 50, 200)]
    for one, other in zip(scales, reversed(scales)):
        assert float(one * other) == float(one) * float(other)
        assert float(one).as_integer_ratio()[0].bit_length() <= SCALE_BITS


def test_squared_error_clips_an_outlier_and_minmax_does_not():
    values = np.append(np.random.default_rng(0).standard_normal(199_999), 30).astype(np.float32)
    assert measured_scaling(values, "minmax").real(np.array([127])) == pytest.approx(30, rel=0.01)
    assert measured_scaling(values, "mse").real(np.array([127])) < 25
    assert measured_scaling(values, "percentile").real(np.array([127])) < 6


def test_a_dense_layer_by_hand():
    """0.5 * 2 - 1 * 1 + 3 = 3, then the ReLU; with scales of 1/127 for weights and 1 for values all is exact."""
    layer = FloatLayer(np.array([[0.5, -1.0]], np.float32), np.array([3.0], np.float32), relu=True)
    integer = integer_layer(layer, Scaling(np.float32(1), 0), Scaling(np.float32(1), -128))
    assert np.abs(integer.weights).max() == 127
    assert integer(np.array([[2, 1], [-20, 1]], np.int8)).tolist() == [[-125], [-128]]


def test_convolutions_have_a_scale_a_channel_and_dense_layers_one():
    whole = integer_network()
    assert [len(layer.weight_scales) for layer in whole.layers] == [8, 16, 32, 1, 1, 1, 1]
    assert whole.convolutions[-1].output == whole.feature_layers[-1].output == whole.head[0].input


# From the float network


@pytest.mark.parametrize("mode", MODES)
def test_folding_leaves_the_network_as_it_is(mode):
    model, beats = network(mode), made_up_beats(mode)
    expected = predict_logits(model, torch.from_numpy(beats.windows), torch.from_numpy(beats.features)).numpy()
    assert np.allclose(Calibration(model, beats).logits, expected, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("correct", [False, True])
def test_every_method_stays_close_to_the_float_network(method, correct):
    model, beats = network(), made_up_beats()
    values = Calibration(model, beats)
    whole = values.network(method, correct)
    logits = whole.head[-1].output.real(whole.predict(beats.windows, beats.features))
    ordered = np.sort(values.logits, axis=1)
    lowest = min(ordered[:, -2].min(), 0)  # what lies lower is clamped: it decides nothing
    assert np.abs(logits - np.maximum(values.logits, lowest)).mean() < 0.03 * np.ptp(values.logits)


def test_bias_correction_leaves_no_more_mean_error_than_the_rounding_of_the_bias():
    values = Calibration(network(), made_up_beats())
    layer = values.network("minmax", True).convolutions[0]
    step = float(layer.input.scale) * layer.weight_scales
    sums = layer.sums(layer.input.quantize(values.wave)) * step
    errors = (sums - values.layers.convolutions[0].sums(values.wave)).mean(axis=(0, 1))
    assert (np.abs(errors) < 0.51 * step).all()


def test_ranges_are_measured_on_beats_of_every_class_over_the_whole_of_the_records():
    labels = np.array([0] * 5000 + [1] * 30 + [4])
    keep = spread_by_class(labels, 100)
    assert [keep[labels == label].sum() for label in (0, 1, 4)] == [100, 30, 1]
    assert keep[0] and keep[4999]


def test_the_full_network_and_even_kernels_are_refused_in_one_line():
    with pytest.raises(DeepECGError, match="preset edge"):
        folded(network(preset="full"))
    model = network()
    model.wave[0][0] = torch.nn.Conv1d(CHANNELS, 8, 8, padding=4, bias=False)
    with pytest.raises(DeepECGError, match="odd"):
        folded(model)


def test_no_calibration_beats_are_a_clear_error():
    with pytest.raises(DeepECGError, match="calibration"):
        quantized(network(), made_up_beats(count=0))


def test_no_beats_give_no_logits():
    whole = integer_network()
    assert whole.predict(made_up_beats(count=0).windows, made_up_beats(count=0).features).shape == (0, 5)


@pytest.mark.parametrize("mode", MODES)
def test_the_reference_network_keeps_its_labels_on_patients_that_it_was_not_calibrated_on(mode, mitdb, tmp_path):
    """Beats of a patient of DS1 with S, V and F calibrate, another patient is labelled as by the float network."""
    model, description = load_checkpoint(PRETRAINED / f"{mode}-edge.pt", [HybridECGNet])
    if description.features != FEATURES[mode]:
        pytest.skip(f"pretrained/{mode}-edge.pt is of other features than inputs.py")
    config = Config(mode=mode, preset="edge", cache_dir=str(tmp_path))
    beats = load_beats(Source("local", mitdb), ("223", "205"), config)
    assert set(beats.records) <= set(DS1)
    calibration, tested = beats.of(("223",)), beats.of(("205",))
    whole = quantized(model, calibration.where(np.arange(len(calibration)) % 4 == 0))
    expected = predict_logits(model, torch.from_numpy(tested.windows), torch.from_numpy(tested.features)).numpy()
    same = whole.predict(tested.windows, tested.features).argmax(axis=1) == expected.argmax(axis=1)
    assert same.mean() > 0.998
