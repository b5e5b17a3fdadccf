"""The `edge` network in whole numbers: int8 weights and activations by the rules of TensorFlow Lite.

The scheme is that of Jacob et al. 2018 (CVPR, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference") with the conventions of TFLite's 8-bit specification: a value is
scale * (q - zero_point); activations have one scale a tensor; weights are symmetric, with one scale for each output
channel of a convolution and one in all for a dense layer; biases are int32. Sums are brought to the next scale by a
31-bit multiplier and a shift, rounded as TFLite Micro's reference kernels do.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d

from config import CLASSES
from deep_ecg.beats.arrays import Beats
from deep_ecg.networks.temperature import softmax
from deep_ecg.system.errors import DeepECGError
from model import FEATURE_LIMIT, HybridECGNet

INT8_MIN, INT8_MAX = -128, 127
SCALE_BITS = 12  # of a scale's significand: the product of two is then the same in float32 and in float64
BIAS_LIMIT = 2**30
BATCH = 1024  # beats
SAMPLE_OF_CLASS = 400  # beats of each class on which ranges are measured
MEASURED_VALUES = 200_000
METHODS = ("minmax", "percentile", "mse")
CLIPPINGS = tuple(share / 20 for share in range(6, 21))  # shares of the span of values that a range may keep


@dataclass(frozen=True)
class Scaling:
    """What int8 values of a tensor stand for: `scale` * (q - `zero_point`)."""

    scale: np.float32
    zero_point: int

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """The int8 values nearest to `values` float32, halves away from zero, ends clamped.

        Divided and rounded in float32 step by step, so that C does the same to the bit.
        """
        steps = np.clip(values / self.scale, np.float32(-256), np.float32(256))
        whole = np.trunc(steps + np.copysign(np.float32(0.5), steps)).astype(np.int32)
        return np.clip(whole + self.zero_point, INT8_MIN, INT8_MAX).astype(np.int8)

    def real(self, quantized: np.ndarray) -> np.ndarray:
        """The float32 values that `quantized` stand for."""
        return (quantized.astype(np.float32) - self.zero_point) * self.scale


@dataclass(frozen=True)
class Layer:
    """One convolution or dense layer in whole numbers, its ReLU (where `relu`) included.

    weights int8 are (outputs, kernel, inputs) of a convolution, (outputs, inputs) of a dense layer; bias int32,
    multipliers int32 and shifts are (outputs,); weight_scales (outputs,) of a convolution, (1,) of a dense layer.
    """

    weights: np.ndarray
    bias: np.ndarray
    weight_scales: np.ndarray
    multipliers: np.ndarray
    shifts: np.ndarray
    input: Scaling
    output: Scaling
    relu: bool

    @property
    def convolution(self) -> bool:
        """Whether its weights have a kernel."""
        return self.weights.ndim == 3

    def sums(self, inputs: np.ndarray) -> np.ndarray:
        """int64 sums before scaling of int8 `inputs`, (n, width, channels) or (n, inputs), of the same layout."""
        values = inputs.astype(np.float64) - self.input.zero_point  # float64 holds every sum exactly
        return _weighted(values, self.weights.astype(np.float64)).astype(np.int64) + self.bias

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """int8 outputs of int8 `inputs`, see `sums`."""
        scaled = multiply_by_quantized_multiplier(self.sums(inputs), self.multipliers, self.shifts)
        lowest = self.output.zero_point if self.relu else INT8_MIN
        return np.clip(scaled + self.output.zero_point, max(lowest, INT8_MIN), INT8_MAX).astype(np.int8)


@dataclass(frozen=True)
class IntegerNetwork:
    """`HybridECGNet` without the flattened map, in whole numbers.

    mean and scale (features,) are those of the front end, which standardises the features in float32.
    """

    mean: np.ndarray
    scale: np.ndarray
    window_samples: int
    convolutions: tuple[Layer, ...]
    feature_layers: tuple[Layer, ...]
    head: tuple[Layer, ...]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers, in the order of their calculation."""
        return self.convolutions + self.feature_layers + self.head

    def quantize(self, windows: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both int8 inputs: windows (n, channels, samples) -> (n, samples, channels), raw features (n, count)."""
        window_q = self.convolutions[0].input.quantize(windows.transpose(0, 2, 1))
        features_q = self.feature_layers[0].input.quantize(standardised(features, self.mean, self.scale))
        return np.ascontiguousarray(window_q), features_q

    def run(self, window_q: np.ndarray, features_q: np.ndarray) -> np.ndarray:
        """int8 logits (n, classes) of the inputs that `quantize` gives."""
        starts = range(0, len(window_q), BATCH)
        parts = [self._run(window_q[i : i + BATCH], features_q[i : i + BATCH]) for i in starts]
        return np.concatenate(parts) if parts else np.empty((0, len(CLASSES)), np.int8)

    def _run(self, wave: np.ndarray, features: np.ndarray) -> np.ndarray:
        for layer in self.convolutions[:-1]:
            wave = halved(layer(wave))
        wave = self.convolutions[-1](wave).max(axis=1)  # the last halving changes no maximum
        for layer in self.feature_layers:
            features = layer(features)
        joined = np.concatenate([wave, features], axis=1)
        for layer in self.head:
            joined = layer(joined)
        return joined

    def predict(self, windows: np.ndarray, features: np.ndarray) -> np.ndarray:
        """int8 logits (n, classes) of the float inputs of `features.beat_inputs`."""
        return self.run(*self.quantize(windows, features))

    def proba(self, windows: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Class probabilities (n, classes) by what the logits of `predict` stand for."""
        return softmax(self.head[-1].output.real(self.predict(windows, features)))


def standardised(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """`features` (n, count) float32 as the network's MLP takes them: standardised and kept within FEATURE_LIMIT."""
    return np.clip((features - mean) / scale, np.float32(-FEATURE_LIMIT), np.float32(FEATURE_LIMIT))


def halved(wave: np.ndarray) -> np.ndarray:
    """The larger of each two neighbours in time, (n, width, channels) -> (n, width / 2, channels)."""
    return np.maximum(wave[:, 0::2], wave[:, 1::2])


def _as_it_is(values: np.ndarray) -> np.ndarray:
    return values


def _weighted(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sums over the inputs, laid out as in `Layer`; a convolution's ends see zeros."""
    inputs, taps = torch.from_numpy(values), torch.from_numpy(weights)
    if taps.ndim == 2:
        return (inputs @ taps.T).numpy()
    padding = taps.shape[1] // 2
    return conv1d(inputs.transpose(1, 2), taps.transpose(1, 2), padding=padding).transpose(1, 2).numpy()


# Fixed-point arithmetic --------------------------------------------------------------------------------------------


def quantize_multiplier(factor: float) -> tuple[int, int]:
    """`factor` as (multiplier, shift): multiplier * 2 ** (shift - 31), the multiplier from 2 ** 30 to 2 ** 31 - 1."""
    fraction, shift = np.frexp(factor)
    multiplier = int(np.floor(fraction * 2.0**31 + 0.5))  # never negative: halves go up
    if multiplier == 2**31:
        multiplier, shift = multiplier // 2, shift + 1
    return (0, 0) if shift < -31 else (multiplier, int(shift))


def multiply_by_quantized_multiplier(sums: np.ndarray, multipliers: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """int64 `sums` (..., outputs) times multiplier * 2 ** (shift - 31), rounded twice as TFLite's kernels do.

    First to the upper 32 bits of the doubled product, halves up; then by the shift, halves away from zero.
    Shifts are 0 or negative: `Layer` is built so.
    """
    products = sums * multipliers.astype(np.int64)
    high = (products + (1 << 30)) >> 31
    right = -shifts.astype(np.int64)
    half = np.where(right > 0, np.int64(1) << np.maximum(right - 1, 0), 0)
    return np.sign(high) * ((np.abs(high) + half) >> right)


# From the float network to whole numbers -------------------------------------------------------------------------


@dataclass(frozen=True)
class FloatLayer:
    """A layer of the float network with its batch normalisation folded in, weights laid out as in `Layer`."""

    weights: np.ndarray
    bias: np.ndarray
    relu: bool

    def sums(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs before the ReLU of float32 `inputs` (n, width, channels) or (n, inputs)."""
        return _weighted(inputs, self.weights) + self.bias

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """What the layer gives for `inputs`, laid out as in `Layer`."""
        sums = self.sums(inputs)
        return np.maximum(sums, 0) if self.relu else sums


@dataclass(frozen=True)
class FloatLayers:
    """The layers of a float network, grouped as in `IntegerNetwork`."""

    convolutions: tuple[FloatLayer, ...]
    feature_layers: tuple[FloatLayer, ...]
    head: tuple[FloatLayer, ...]


def folded(model: HybridECGNet) -> FloatLayers:
    """The layers of `model`, each batch normalisation folded into the convolution before it.

    Raises DeepECGError where the network is not of the kind that whole numbers are made for.
    """
    if not isinstance(model, HybridECGNet) or model.flatten is not None:
        raise DeepECGError("int8 for microcontrollers is made for networks without the flattened map: use preset edge")
    blocks: list[list[Any]] = [[*block.children()] for block in model.wave]  # convolution, normalisation, pooling, ReLU
    if any(block[0].kernel_size[0] % 2 == 0 for block in blocks):
        raise DeepECGError("int8 for microcontrollers needs odd convolution kernels: change the preset in config.py")
    return FloatLayers(
        convolutions=tuple(_folded(block[0], block[1]) for block in blocks),
        feature_layers=tuple(_dense(model.features.layers)),
        head=tuple(_dense(model.head)),
    )


def _folded(convolution: Any, norm: Any) -> FloatLayer:
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    weights = (convolution.weight.double() * gain[:, None, None]).transpose(1, 2)  # (outputs, kernel, inputs)
    bias = norm.bias.double() - norm.running_mean.double() * gain
    return FloatLayer(_float32(weights), _float32(bias), relu=True)


def _dense(layers: nn.Sequential) -> Iterator[FloatLayer]:
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    activations = list(layers)
    for layer in linear:
        after = activations.index(layer) + 1
        relu = after < len(activations) and isinstance(activations[after], nn.ReLU)
        yield FloatLayer(_float32(layer.weight), _float32(layer.bias), relu)


def _float32(values: Tensor) -> np.ndarray:
    return values.detach().contiguous().numpy().astype(np.float32)


def scaling_of(low: float, high: float) -> Scaling:
    """The scaling whose 256 values span `low` to `high`, zero among them."""
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    scale = _short((high - low) / 255 or 1.0)
    return Scaling(scale, round(INT8_MIN - low / float(scale)))


def _short(scale: float) -> np.float32:
    """`scale` rounded up to SCALE_BITS significant bits."""
    fraction, exponent = np.frexp(scale)
    return np.float32(np.ldexp(np.ceil(fraction * 2**SCALE_BITS), exponent - SCALE_BITS))


def measured_scaling(values: np.ndarray, method: str) -> Scaling:
    """The scaling for `values` float32 by `method` of METHODS.

    "minmax" spans all values, "percentile" all but one in ten thousand at either end, "mse" the share of the span,
    of CLIPPINGS, at which the squared error of about MEASURED_VALUES of them is least.
    """
    if method == "percentile":
        return scaling_of(*np.percentile(values, (0.01, 99.99)))
    low, high = values.min(), values.max()
    if method == "minmax":
        return scaling_of(low, high)
    some = values.ravel()[:: max(values.size // MEASURED_VALUES, 1) | 1]  # odd: no channel is passed over
    candidates = [scaling_of(share * low, share * high) for share in CLIPPINGS]
    return min(candidates, key=lambda one: float(((one.real(one.quantize(some)) - some) ** 2).mean()))


def _logit_scaling(logits: np.ndarray) -> Scaling:
    """Spans the two largest logits of every beat, (beats, classes): what lies lower decides nothing.

    Finer steps make ties between two classes, which go to the first of them, rare.
    """
    ordered = np.sort(logits, axis=1)
    return scaling_of(ordered[:, -2].min(), ordered[:, -1].max())


class Calibration:
    """The float network's values at every layer, over beats from which the int8 ranges are taken."""

    def __init__(self, model: HybridECGNet, beats: Beats):
        self.layers = folded(model)
        self.mean, self.scale = _float32(model.features.mean), _float32(model.features.scale)
        self.window_samples = beats.windows.shape[2]
        self.wave = np.ascontiguousarray(beats.windows.transpose(0, 2, 1))
        self.standardised = standardised(beats.features, self.mean, self.scale)
        self.wave_outputs = _outputs(self.layers.convolutions, self.wave, halved)
        self.feature_outputs = _outputs(self.layers.feature_layers, self.standardised)
        self.joined = np.concatenate([self.wave_outputs[-1].max(axis=1), self.feature_outputs[-1]], axis=1)
        self.head_outputs = _outputs(self.layers.head, self.joined)

    @property
    def logits(self) -> np.ndarray:
        """The float network's logits (beats, classes)."""
        return self.head_outputs[-1]

    def network(self, method: str, correct_bias: bool) -> IntegerNetwork:
        """The network in whole numbers, with ranges by `method` of METHODS.

        With `correct_bias`, each layer's bias makes up for the mean by which its sums differ from the float
        network's (Nagel et al. 2019, ICCV, "Data-Free Quantization Through Weight Equalization and Bias Correction").
        """

        def ranges(outputs: list[np.ndarray]) -> list[Scaling]:
            return [measured_scaling(values, method) for values in outputs[:-1]]

        shared = measured_scaling(self.joined, method)  # both branches, so that joining them moves bytes only
        chain = _Chain(correct_bias)
        wave = chain.start(self.wave, measured_scaling(self.wave, method))
        wave, convolutions = chain.run(wave, self.layers.convolutions, [*ranges(self.wave_outputs), shared], halved)
        feature = chain.start(self.standardised, scaling_of(-FEATURE_LIMIT, FEATURE_LIMIT))
        feature, feature_layers = chain.run(
            feature, self.layers.feature_layers, [*ranges(self.feature_outputs), shared]
        )
        joined = _Values(self.joined, np.concatenate([wave.quantized.max(axis=1), feature.quantized], axis=1), shared)
        ends = [*ranges(self.head_outputs), _logit_scaling(self.logits)]
        _, head = chain.run(joined, self.layers.head, ends)
        return IntegerNetwork(self.mean, self.scale, self.window_samples, convolutions, feature_layers, head)


@dataclass(frozen=True)
class _Values:
    """A tensor of the float network beside its int8 form."""

    real: np.ndarray
    quantized: np.ndarray
    scaling: Scaling


@dataclass(frozen=True)
class _Chain:
    """Turns layers into whole numbers one after the other, each fed what the int8 layers before it give."""

    correct_bias: bool

    def start(self, real: np.ndarray, scaling: Scaling) -> _Values:
        return _Values(real, scaling.quantize(real), scaling)

    def run(
        self, values: _Values, layers: Sequence[FloatLayer], outputs: Sequence[Scaling], between: Callable = _as_it_is
    ) -> tuple[_Values, tuple[Layer, ...]]:
        """The layers in whole numbers, and what comes out of the last; `between` acts between two layers."""
        done: list[Layer] = []
        for layer, output in zip(layers, outputs):
            if done:
                values = _Values(between(values.real), between(values.quantized), values.scaling)
            done.append(self._layer(layer, values, output))
            values = _Values(layer(values.real), done[-1](values.quantized), output)
        return values, tuple(done)

    def _layer(self, layer: FloatLayer, inputs: _Values, output: Scaling) -> Layer:
        integer = integer_layer(layer, inputs.scaling, output)
        if not self.correct_bias:
            return integer
        step = float(inputs.scaling.scale) * integer.weight_scales  # what one of the sums stands for
        lost = layer.sums(inputs.real) - integer.sums(inputs.quantized) * step
        bias = integer.bias * step + lost.reshape(-1, len(layer.bias)).mean(axis=0)
        return integer_layer(replace(layer, bias=bias.astype(np.float32)), inputs.scaling, output)


def integer_layer(layer: FloatLayer, inputs: Scaling, output: Scaling) -> Layer:
    """`layer` in whole numbers between two scalings.

    Raises DeepECGError where one step of its sums is more than one step of its outputs.
    """
    largest = np.abs(layer.weights).reshape(len(layer.weights), -1).max(axis=1)
    if layer.weights.ndim == 2:
        largest = largest.max(keepdims=True)
    weight_scales = np.array([_short(value / INT8_MAX or 1.0) for value in largest])
    across = weight_scales.reshape(-1, *[1] * (layer.weights.ndim - 1))
    sum_scales = np.broadcast_to(weight_scales.astype(float) * float(inputs.scale), len(layer.weights))
    factors = [quantize_multiplier(scale / float(output.scale)) for scale in sum_scales]
    multipliers, shifts = (np.array(column, np.int32) for column in zip(*factors))
    if shifts.max() > 0:
        raise DeepECGError("a layer of the network gives next to nothing, so that int8 cannot hold it: train it again")
    return Layer(
        weights=np.clip(np.rint(layer.weights / across), -INT8_MAX, INT8_MAX).astype(np.int8),
        bias=np.clip(np.rint(layer.bias / sum_scales), -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32),
        weight_scales=weight_scales,
        multipliers=multipliers,
        shifts=shifts,
        input=inputs,
        output=output,
        relu=layer.relu,
    )


def _outputs(
    layers: Sequence[FloatLayer], values: np.ndarray, between: Callable = _as_it_is
) -> list[np.ndarray]:
    """What each of `layers` gives when they follow one another, `between` acting between two of them."""
    outputs: list[np.ndarray] = []
    for layer in layers:
        outputs.append(layer(between(outputs[-1]) if outputs else values))
    return outputs


def quantized(model: HybridECGNet, calibration: Beats) -> IntegerNetwork:
    """`model` in whole numbers, with the ranges and biases that keep its decision margins best on `calibration`.

    Ranges are measured on up to SAMPLE_OF_CLASS beats of each class, of training patients. A beat's decision margin is
    its largest logit less the next; of METHODS, with bias correction and without, the one with the least squared
    error of the margins is taken. Raises DeepECGError where the model is not of the kind that `folded` takes, or
    `calibration` is empty.
    """
    if len(calibration) == 0:
        raise DeepECGError("there are no calibration beats: give those of the training patients")
    beats = calibration.where(spread_by_class(calibration.labels, SAMPLE_OF_CLASS))
    values = Calibration(model, beats)
    networks = [values.network(method, correct) for method in METHODS for correct in (False, True)]
    return min(networks, key=lambda network: _margin_error(values.logits, network, beats))


def _margin_error(logits: np.ndarray, network: IntegerNetwork, beats: Beats) -> float:
    integer = network.head[-1].output.real(network.predict(beats.windows, beats.features))
    second, first = np.argsort(logits, axis=1)[:, -2:].T
    row = np.arange(len(logits))
    margins = (values[row, first] - values[row, second] for values in (logits, integer))
    return float((np.subtract(*margins) ** 2).mean())


def spread_by_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Which beats to take, (beats,) bool: up to `count` of each class, evenly spread over their order."""
    keep = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        keep[members[np.linspace(0, len(members) - 1, min(count, len(members))).round().astype(int)]] = True
    return keep
