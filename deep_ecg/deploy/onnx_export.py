"""Checkpoints as ONNX files: fp32, and int8 with static ranges, in which the convolutions are int8 too.

Everything that a network needs is in its one file: the normalisation of the features is part of the graph, and the
metadata say how the inputs are made. `onnx_network.py` runs the files.
"""

import copy
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from deep_ecg.beats.arrays import Beats
from deep_ecg.beats.inputs import CHANNELS
from deep_ecg.networks.classifier import INPUT_SETTINGS
from deep_ecg.networks.onnx_network import FORMAT, INPUTS, METADATA, OUTPUT
from deep_ecg.system.console import quiet
from deep_ecg.system.files import atomic_file

# The features are normalised in fp32: their ranges differ too much before for one scale.
INT8_OPERATORS = ["Conv", "MaxPool", "Relu", "ReduceMax", "Reshape", "Concat", "Gemm"]


def export_fp32(model: nn.Module, description: dict, path: Path) -> Path:
    """Writes `model`, a `HybridECGNet`, as an ONNX file of any batch size.

    Inputs windows (batch, CHANNELS, window_samples) and features (batch, count), output logits (batch, classes), all
    float32. `description` is that of its checkpoint; of its settings the file keeps those of the inputs.
    """
    batch = torch.export.Dim("batch")
    shapes = (CHANNELS, description["config"]["window_samples"]), (len(description["features"]),)
    with quiet():
        program = torch.onnx.export(
            copy.deepcopy(model).eval(),
            tuple(torch.zeros(2, *shape) for shape in shapes),
            dynamo=True,
            input_names=INPUTS,
            output_names=[OUTPUT],
            dynamic_shapes=({0: batch}, {0: batch}),
            verbose=False,
        )
    return _write(path, program.model_proto, description)


def export_int8(fp32: Path, description: dict, calibration: Beats, path: Path) -> Path:
    """Writes the network of the ONNX file `fp32` in int8: weights by channel, ranges of the values by `calibration`.

    The weights use 7 of the 8 bits: on x86 without VNNI sums of two products of 8 bits saturate, and the labels would
    depend on the processor. The last layer stays in fp32: in steps of its whole range, two classes would tie too often.
    """
    with TemporaryDirectory() as folder, quiet():
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(fp32, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            _Calibration(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=INT8_OPERATORS,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,
            nodes_to_exclude=[node.name for node in onnx.load(prepared).graph.node if OUTPUT in node.output],
            calibrate_method=CalibrationMethod.MinMax,
        )
        return _write(path, onnx.load(quantized), description)


class _Calibration(CalibrationDataReader):
    """The beats as one batch."""

    def __init__(self, beats: Beats):
        self._batches = iter([dict(zip(INPUTS, (beats.windows, beats.features)))])

    def get_next(self) -> dict | None:
        return next(self._batches, None)


def _write(path: Path, proto: onnx.ModelProto, description: dict) -> Path:
    """Writes `proto` with `description` as its only metadata: exporters leave notes that name files of the machine."""
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    of_inputs = {name: description["config"][name] for name in INPUT_SETTINGS}
    text = json.dumps({"format": FORMAT, **description, "config": of_inputs})
    onnx.helper.set_model_props(proto, {METADATA: text})
    onnx.checker.check_model(proto, full_check=True)
    with atomic_file(path) as temporary:
        onnx.save(proto, temporary)
    return path
