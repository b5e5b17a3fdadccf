"""Checkpoints as ONNX files: fp32, and int8 with static ranges, in which the convolutions are int8 too.

Everything that a network needs is in its one file: the normalisation of the features is part of the graph, and the
metadata hold its description. `onnx_network.py` runs the files.
"""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from onnx import numpy_helper
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
from deep_ecg.networks.description import FORMAT, Description
from deep_ecg.networks.onnx_network import INPUTS, METADATA, OUTPUT
from deep_ecg.system.console import quiet
from deep_ecg.system.files import atomic_file

# The features are normalised in fp32: their ranges differ too much before for one scale.
INT8_OPERATORS = ["Conv", "MaxPool", "Relu", "ReduceMax", "Reshape", "Concat", "Gemm"]


def export_fp32(model: nn.Module, description: Description, path: Path) -> Path:
    """Writes `model`, a `HybridECGNet`, as an ONNX file of any batch size.

    Inputs windows (batch, CHANNELS, window_samples) and features (batch, count), output logits (batch, classes), all
    float32. The file keeps its `description`.
    """
    batch = torch.export.Dim("batch")
    shapes = (CHANNELS, description.inputs.window_samples), (len(description.features),)
    inputs = tuple(torch.zeros(2, *shape) for shape in shapes)
    proto = exported(copy.deepcopy(model).eval(), inputs, INPUTS, OUTPUT, ({0: batch}, {0: batch}))
    store_in_half(proto.graph)
    return write_onnx(path, proto, description)


def exported(
    model: nn.Module, inputs: tuple[torch.Tensor, ...], names: Sequence[str], output: str, dynamic_shapes: tuple
) -> onnx.ModelProto:
    """`model` as ONNX with inputs of these `names` and one `output`; `dynamic_shapes` are those of `torch.export`."""
    with quiet():
        program = torch.onnx.export(
            model,
            inputs,
            dynamo=True,
            input_names=names,
            output_names=[output],
            dynamic_shapes=dynamic_shapes,
            verbose=False,
        )
    assert program is not None  # as it is only without dynamo
    return program.model_proto


def store_in_half(graph: onnx.GraphProto):
    """Stores the weights of `graph` that are half-precision values (`round_to_half`) as such, widened when loaded.

    Those of the convolutions are none, since their normalisation is folded into them.
    """
    for stored in graph.initializer:
        weights, name = numpy_helper.to_array(stored), stored.name
        half = weights.astype(np.float16)
        if weights.dtype == np.float32 and weights.ndim > 1 and np.array_equal(half, weights):
            stored.CopyFrom(numpy_helper.from_array(half, f"{name}_half"))
            graph.node.insert(0, onnx.helper.make_node("Cast", [stored.name], [name], to=onnx.TensorProto.FLOAT))


def export_int8(fp32: Path, description: Description, calibration: Beats, path: Path) -> Path:
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
        return write_onnx(path, onnx.load(quantized), description)


class _Calibration(CalibrationDataReader):
    """The beats as one batch."""

    def __init__(self, beats: Beats):
        self._batches = iter([dict(zip(INPUTS, (beats.windows, beats.features)))])

    def get_next(self) -> dict | None:
        return next(self._batches, None)


def write_onnx(path: Path, proto: onnx.ModelProto, description: Description | None = None) -> Path:
    """Writes `proto` with `description` as its only metadata: exporters leave notes that name files of the machine.

    The settings of its training are left out. Without a description there is no metadata.
    """
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    if description is not None:
        said = {"format": FORMAT, **description.as_json()}
        del said["training"]
        onnx.helper.set_model_props(proto, {METADATA: json.dumps(said)})
    onnx.checker.check_model(proto, full_check=True)
    with atomic_file(path) as temporary:
        onnx.save(proto, temporary)
    return path
