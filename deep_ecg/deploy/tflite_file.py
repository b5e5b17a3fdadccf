"""The integer network as a TensorFlow Lite file, and its run in TFLite Micro's interpreter.

The file is written with the flatbuffer classes of the package `tflite-micro` (requirements-dev.txt), which is
imported only when they are needed.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from config import CLASSES
from deep_ecg.deploy.integer_network import IntegerNetwork, Layer, Scaling
from deep_ecg.system.errors import DeepECGError

OPERATORS = {  # name of the operator -> version from which TFLite has it in int8
    "CONV_2D": 3,
    "MAX_POOL_2D": 2,
    "RESHAPE": 1,
    "FULLY_CONNECTED": 4,
    "CONCATENATION": 2,
}
ALIGNMENT = 16  # bytes, of each constant in the file
FILE_IDENTIFIER = b"TFL3"
ARENA_STEP = 16  # bytes


def model_bytes(network: IntegerNetwork, description: str) -> bytes:
    """`network` as a TFLite model of fully static int8, with `description` inside.

    Inputs: the window (1, 1, samples, channels), the standardised features (1, count). Output: logits (1, classes).
    Raises DeepECGError where `tflite-micro` is missing.
    """
    return _Writer(_package("tensorflow.lite.micro.python.schema_py_generated")).model(network, description)


class Interpreter:
    """The real TFLite Micro interpreter on a model in memory, with an arena of so many bytes.

    Raises DeepECGError where `tflite-micro` is missing or the arena does not hold the model.
    """

    def __init__(self, model: bytes, arena_bytes: int = 64 * 1024):
        runtime = _package("python.tflite_micro.runtime")
        try:
            with _quiet_stderr():
                self._interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena_bytes)
        except RuntimeError as error:
            raise DeepECGError(f"TFLite Micro does not take the model in {arena_bytes} bytes: {error}") from None

    def run(self, window_q: np.ndarray, features_q: np.ndarray) -> np.ndarray:
        """int8 logits (n, classes) of int8 windows (n, samples, channels) and features (n, count)."""
        logits = np.empty((len(window_q), len(CLASSES)), np.int8)
        for row, window, features in zip(logits, window_q, features_q):
            self._interpreter.set_input(window[None, None], 0)
            self._interpreter.set_input(features[None], 1)
            self._interpreter.invoke()
            row[:] = self._interpreter.get_output(0)[0]
        return logits


def arena_bytes(model: bytes) -> int:
    """The smallest arena, a multiple of ARENA_STEP bytes, in which this machine's TFLite Micro runs the model."""
    too_small, enough = 0, 64 * 1024 // ARENA_STEP
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        try:
            Interpreter(model, middle * ARENA_STEP)
            enough = middle
        except DeepECGError:
            too_small = middle
    return enough * ARENA_STEP


def _package(module: str):
    """A module of `tflite-micro`. Raises DeepECGError where it is not installed."""
    try:
        return __import__(f"tflite_micro.{module}", fromlist=["*"])
    except ImportError:
        raise DeepECGError("the package tflite-micro is missing: pip install -r requirements-dev.txt") from None


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keeps what TFLite Micro's C++ code says of an arena that is too small from the terminal."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


class _Writer:
    """Collects tensors, constants and operators of one model; `schema` holds the flatbuffer classes."""

    def __init__(self, schema):
        self._schema = schema
        self._codes = list(OPERATORS)
        self._buffers = [b""]  # the first is that of every tensor which is no constant
        self._tensors, self._operators = [], []

    def model(self, network: IntegerNetwork, description: str) -> bytes:
        first, last = network.convolutions[0], network.convolutions[-1]
        window = self._values("window", (1, 1, network.window_samples, first.weights.shape[2]), first.input)
        wave, width = window, network.window_samples
        for number, layer in enumerate(network.convolutions):
            wave = self._convolution(f"conv{number}", wave, layer, width)
            halves = 2 if layer is not last else width  # the largest over the window needs no halving before it
            width //= halves
            wave = self._pool(f"pool{number}", wave, layer, width, halves)
        wave_row = self._values("wave", (1, len(last.weights)), last.output)
        self._operator("RESHAPE", [wave, self._constant("row", np.array([1, -1], np.int32))], [wave_row])
        features = self._values("features", (1, network.mean.size), network.feature_layers[0].input)
        rhythm = self._dense_layers("mlp", features, network.feature_layers)
        outputs = len(last.weights) + len(network.feature_layers[-1].weights)
        joined = self._values("joined", (1, outputs), last.output)
        options = self._schema.ConcatenationOptionsT()
        options.axis = 1
        self._operator("CONCATENATION", [wave_row, rhythm], [joined], options)
        logits = self._dense_layers("head", joined, network.head)
        return self._packed([window, features], [logits], description)

    def _convolution(self, name: str, inputs: int, layer: Layer, width: int) -> int:
        output = self._values(name, (1, 1, width, len(layer.weights)), layer.output)
        options = self._schema.Conv2DOptionsT()
        options.padding = self._schema.Padding.SAME
        options.strideW = options.strideH = options.dilationWFactor = options.dilationHFactor = 1
        self._activation(options, layer)
        self._operator("CONV_2D", [inputs, *self._constants(name, layer, layer.weights[:, None])], [output], options)
        return output

    def _pool(self, name: str, inputs: int, layer: Layer, width: int, halves: int) -> int:
        output = self._values(name, (1, 1, width, len(layer.weights)), layer.output)
        options = self._schema.Pool2DOptionsT()
        options.padding = self._schema.Padding.VALID
        options.strideW = options.filterWidth = halves
        options.strideH = options.filterHeight = 1
        self._operator("MAX_POOL_2D", [inputs], [output], options)
        return output

    def _dense_layers(self, name: str, values: int, layers: Sequence[Layer]) -> int:
        for number, layer in enumerate(layers):
            output = self._values(f"{name}{number}", (1, len(layer.weights)), layer.output)
            options = self._schema.FullyConnectedOptionsT()
            self._activation(options, layer)
            constants = self._constants(f"{name}{number}", layer, layer.weights)
            self._operator("FULLY_CONNECTED", [values, *constants], [output], options)
            values = output
        return values

    def _activation(self, options, layer: Layer):
        kinds = self._schema.ActivationFunctionType
        options.fusedActivationFunction = kinds.RELU if layer.relu else kinds.NONE

    def _constants(self, name: str, layer: Layer, weights: np.ndarray) -> list[int]:
        scales = layer.weight_scales
        return [
            self._constant(f"{name}_weights", weights, scales),
            self._constant(f"{name}_bias", layer.bias, scales * layer.input.scale),
        ]

    def _values(self, name: str, shape: tuple[int, ...], scaling: Scaling) -> int:
        return self._tensor(name, shape, np.int8, 0, [float(scaling.scale)], [scaling.zero_point])

    def _constant(self, name: str, values: np.ndarray, scales: Sequence[float] | np.ndarray = ()) -> int:
        self._buffers.append(values.astype(values.dtype.newbyteorder("<")).tobytes())
        return self._tensor(name, values.shape, values.dtype, len(self._buffers) - 1, scales, [0] * len(scales))

    def _tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        kind: type | np.dtype,
        buffer: int,
        scales: Sequence[float] | np.ndarray,
        zeros: list[int],
    ) -> int:
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), buffer
        tensor.type = getattr(self._schema.TensorType, np.dtype(kind).name.upper())
        if len(scales):
            tensor.quantization = self._schema.QuantizationParametersT()
            tensor.quantization.scale = [float(scale) for scale in scales]
            tensor.quantization.zeroPoint = zeros
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _operator(self, name: str, inputs: list[int], outputs: list[int], options=None):
        operator = self._schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = self._codes.index(name), inputs, outputs
        if options is not None:
            operator.builtinOptions = options
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, kind)
        self._operators.append(operator)

    def _packed(self, inputs: list[int], outputs: list[int], description: str) -> bytes:
        graph = self._schema.SubGraphT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = inputs, outputs
        model = self._schema.ModelT()
        model.version, model.description, model.subgraphs = 3, description, [graph]
        model.operatorCodes = [self._code(name) for name in self._codes]
        model.buffers = [_Constant(self._schema, data) for data in self._buffers]
        builder = self._schema.flatbuffers.Builder(1 << 14)
        builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _code(self, name: str):
        code = self._schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(self._schema.BuiltinOperator, name)
        code.version = OPERATORS[name]
        return code


class _Constant:
    """A constant that packs itself into the flatbuffer at a multiple of ALIGNMENT bytes, as TFLite's schema asks.

    The schema's own Python class packs byte by byte, without that alignment.
    """

    def __init__(self, schema, data: bytes):
        self._schema, self._data = schema, data

    def Pack(self, builder) -> int:  # the name that the schema's classes call
        vector = None
        if self._data:
            builder.StartVector(1, len(self._data), ALIGNMENT)
            end = builder.head
            builder.head = end - len(self._data)
            builder.Bytes[builder.head : end] = self._data
            vector = builder.EndVector()
        self._schema.BufferStart(builder)
        if vector is not None:
            self._schema.BufferAddData(builder, vector)
        return self._schema.BufferEnd(builder)
