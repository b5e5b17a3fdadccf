"""What is no network of this project never reaches onnxruntime, which might end the process over it."""

import struct
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from config import Config
from deep_ecg.networks.classifier import PRETRAINED, load_classifier
from deep_ecg.networks.onnx_guard import MAX_BYTES, check_onnx
from deep_ecg.system.errors import DeepECGError


@pytest.fixture
def never(monkeypatch):
    """Onnxruntime must not be asked."""
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *unused, **also: pytest.fail("it was asked"))


@pytest.fixture
def network() -> onnx.ModelProto:
    return onnx.load(PRETRAINED / "causal-edge.onnx")


def of(network: onnx.ModelProto, operator: str) -> onnx.NodeProto:
    """The first node of that kind."""
    return next(node for node in network.graph.node if node.op_type == operator)


def tensor(network: onnx.ModelProto, dimensions: int) -> onnx.TensorProto:
    """The first one of so many dimensions."""
    return next(part for part in network.graph.initializer if len(part.dims) == dimensions)


def attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(part for part in node.attribute if part.name == name)


def external(network):
    part = tensor(network, 3)
    part.data_location = TensorProto.EXTERNAL
    part.external_data.add(key="location", value="../../etc/passwd")


def external_alone(network):
    tensor(network, 3).external_data.add(key="location", value="/etc/passwd")


def loop(network):
    body = helper.make_graph([], "body", [], [])
    network.graph.node.append(helper.make_node("Loop", ["windows"], ["x"], body=body))


def subgraph(network):
    of(network, "Gemm").attribute.append(helper.make_attribute("then_branch", helper.make_graph([], "body", [], [])))


def function(network):
    network.functions.add(name="Relu", domain="own")


def own_operator(network):
    of(network, "Gemm").domain = "own"


def huge_dims(network):
    tensor(network, 3).dims[0] = 2**40


def negative_dims(network):
    tensor(network, 3).dims[0] = -1


def many_dims(network):
    tensor(network, 3).dims.extend([1] * 1000)


def twice_the_data(network):
    tensor(network, 3).int32_data.extend([0])


def no_group(network):
    attribute(of(network, "Conv"), "group").i = 0


def no_stride(network):
    attribute(of(network, "MaxPool"), "strides").ints[0] = 0


def far_axis(network):
    attribute(of(network, "Concat"), "axis").i = 2**31


def wide_pads(network):
    attribute(of(network, "Conv"), "pads").ints[:] = [512, 512]


def doubled(network):
    """Thirty concatenations, each of the one before with itself."""
    for number in range(30):
        before = f"x{number}" if number else "windows"
        network.graph.node.append(helper.make_node("Concat", [before] * 2, [f"x{number + 1}"], axis=1))


def broadcast(network):
    """A value for each pair of a sample of the window and a number of a tensor."""
    network.graph.initializer.append(numpy_helper.from_array(np.zeros(10**6, "f"), "wide"))
    network.graph.node.append(helper.make_node("Sub", ["windows", "wide"], ["x"]))


def wide_kernel(network):
    network.graph.initializer.append(numpy_helper.from_array(np.zeros((2 * 10**5, 2, 1), "f"), "wide"))
    network.graph.node.append(helper.make_node("Conv", ["windows", "wide"], ["x"]))


def circle(network):
    of(network, "Conv").input[0] = "logits"


def cast_to_text(network):
    network.graph.node.append(helper.make_node("Cast", ["windows"], ["x"], to=TensorProto.STRING))


def widened_again_and_again(network):
    network.graph.initializer.append(numpy_helper.from_array(np.zeros(10**7, np.float16), "x0"))
    for number in range(4):
        network.graph.node.append(helper.make_node("Cast", [f"x{number}"], [f"x{number + 1}"], to=TensorProto.FLOAT))


def of_constants(network):
    network.graph.node.append(helper.make_node("Clip", [network.graph.initializer[0].name], ["x"]))


def given_twice(network):
    network.graph.node.append(helper.make_node("Clip", ["windows"], ["logits"]))


def strings(network):
    network.graph.initializer.append(helper.make_tensor("words", TensorProto.STRING, [1], [b"x"]))


def sparse(network):
    network.graph.sparse_initializer.add()


def thousands(network):
    network.graph.node.extend([of(network, "Clip")] * 2000)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (external, "field 1[34] of a message"),
        (external_alone, "field 13 of a message"),
        (loop, "field 6 of a message"),
        (subgraph, "field 6 of a message"),
        (function, "field 25 of a message"),
        (own_operator, "field 7 of a message"),
        (huge_dims, "shape"),
        (negative_dims, "shape"),
        (many_dims, "shape"),
        (twice_the_data, "not as long as its shape"),
        (no_group, "'group' of a Conv"),
        (no_stride, "'strides' of a MaxPool"),
        (far_axis, "'axis' of a Concat"),
        (wide_pads, "padded by more than its kernel"),
        (doubled, "too much memory"),
        (broadcast, "not that of the features"),
        (wide_kernel, "too much memory"),
        (circle, "the inputs of an operator are not there"),
        (cast_to_text, "'to' of a Cast"),
        (widened_again_and_again, "too much memory"),
        (of_constants, "does not work on beats"),
        (given_twice, "given twice"),
        (strings, "field 6 of a message"),
        (sparse, "field 15 of a message"),
        (thousands, "more than 1,000 parts"),
    ],
)
def test_what_an_onnx_file_could_do_is_refused(network, tmp_path, never, spoil, message):
    spoil(network)
    path = tmp_path / "spoiled.onnx"
    path.write_bytes(network.SerializeToString())
    with pytest.raises(DeepECGError, match=message) as refusal:
        load_classifier(Config(mode="causal", preset="edge"), path, "onnx")
    assert str(path) in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("/dev/zero"), lambda path: big(path)])
def test_a_file_of_no_or_endless_or_too_many_bytes_is_refused(tmp_path, never, make):
    make(tmp_path / "network.onnx")
    with pytest.raises(DeepECGError, match="network.onnx"):
        load_classifier(Config(mode="causal", preset="edge"), tmp_path / "network.onnx", "onnx")


def big(path: Path):
    with open(path, "wb") as file:
        file.truncate(MAX_BYTES + 1)


@pytest.mark.parametrize("name", ["causal-edge", "causal-full", "diagnostic-edge", "diagnostic-full"])
@pytest.mark.parametrize("ending", [".onnx", "-fp32.onnx"])
def test_the_committed_networks_pass(name, ending):
    check_onnx((PRETRAINED / f"{name}{ending}").read_bytes())


def test_it_reads_what_the_reference_implementation_writes(network):
    """Names and dimensions as the onnx package has them, also where whole numbers are not packed."""
    from deep_ecg.networks.onnx_guard import _MODEL, _parse

    [graph] = _parse(network.SerializeToString(), _MODEL)[7]
    assert [node[4][0].decode() for node in graph[1]] == [node.op_type for node in network.graph.node]
    assert [part[8][0].decode() for part in graph[5]] == [part.name for part in network.graph.initializer]
    assert [part[1] for part in graph[5]] == [list(part.dims) for part in network.graph.initializer]
    for part, known in zip(graph[5], network.graph.initializer):
        assert part[4] == list(known.float_data) and part[5] == list(known.int32_data)


# Bytes by hand, after the specification of the encoding: key = number << 3 | kind, whole numbers in sevens.
@pytest.mark.parametrize(
    "content, message",
    [
        (b"\x08\x96\x01" * 2, "field 1 of a message is there twice"),
        (b"\x08\x96", "truncated"),
        (b"\x3a\x05ab", "truncated"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "truncated"),
        (b"\x08" + b"\xff" * 11, "no file of ONNX"),
        (b"\x08" + b"\xff" * 9 + b"\x7f", "no file of ONNX"),
        (b"\x0b\x0c", "no file of ONNX"),  # a group, which the format has no more
        (b"\x09" + bytes(8), "no file of ONNX"),  # eight bytes of a double
        (b"\x0d" + struct.pack("<f", 1), "of another kind"),
        (b"\x00\x00", "field 0 of a message"),
        (b"", "no graph"),
        (b"\x3a\x00\x3a\x00", "field 7 of a message is there twice"),
        (b"\x12" + b"\xa1\x8d\x06" + b"x" * 100_001, "too long"),
    ],
)
def test_a_message_that_is_none(content, message):
    with pytest.raises(ValueError, match=message):
        check_onnx(content + b"\x3a\x00" * (message == "too long"))
