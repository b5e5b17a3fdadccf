"""What is asked of an ONNX file before onnxruntime sees it: nothing but a network of the kind that is exported here.

onnxruntime trusts a model: it follows the names of further files, allocates what the shapes say, runs loops, and a
graph that is not meant to be can end the process. So the bytes are parsed here first, by the few messages of
onnx.proto3 that a network of this project needs: no further file, no graph within the graph, no function, known
operators in order, tensors as long as their shapes say, and no more values and products a beat than a batch can take.
"""

import math
import struct
from collections.abc import Iterator
from typing import Any

MAX_BYTES = 32_000_000
MAX_PARTS = 1000  # nodes, tensors, values
MAX_VALUES = 2**18  # of all nodes for one beat; twice what `full` has
MAX_PRODUCTS = 2**25  # of all convolutions and layers for one beat; three times what `full` has
MAX_TEXT_BYTES = 100_000

# Fields of the messages of onnx.proto3 by number: "one" of a kind at most, or "many"; a dict is a message within.
INT, FLOAT, BYTES = "int", "float", "bytes"
_ENTRY = {1: ("one", BYTES), 2: ("one", BYTES)}
_OPERATOR_SET = {1: ("one", BYTES), 2: ("one", INT)}
_TENSOR = {
    1: ("many", INT),  # dims
    2: ("one", INT),  # data_type
    4: ("many", FLOAT),  # float_data
    5: ("many", INT),  # int32_data
    7: ("many", INT),  # int64_data
    8: ("one", BYTES),  # name
    9: ("one", BYTES),  # raw_data
}
_DIMENSION = {1: ("one", INT), 2: ("one", BYTES)}
_TENSOR_TYPE = {1: ("one", INT), 2: ("one", {1: ("many", _DIMENSION)})}
_VALUE = {1: ("one", BYTES), 2: ("one", {1: ("one", _TENSOR_TYPE)})}
_ATTRIBUTE = {
    1: ("one", BYTES),  # name
    2: ("one", FLOAT),
    3: ("one", INT),
    4: ("one", BYTES),
    8: ("many", INT),
    20: ("one", INT),  # type
}
_NODE = {
    1: ("many", BYTES),  # inputs
    2: ("many", BYTES),  # outputs
    3: ("one", BYTES),  # name
    4: ("one", BYTES),  # operator
    5: ("many", _ATTRIBUTE),
}
_GRAPH = {
    1: ("many", _NODE),
    2: ("one", BYTES),  # name
    5: ("many", _TENSOR),
    11: ("many", _VALUE),  # inputs
    12: ("many", _VALUE),  # outputs
    13: ("many", _VALUE),  # in between
}
_MODEL = {
    1: ("one", INT),  # version of the format
    2: ("one", BYTES),  # producer
    3: ("one", BYTES),  # its version
    7: ("one", _GRAPH),
    8: ("many", _OPERATOR_SET),
    14: ("many", _ENTRY),
}

_BYTES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 10: 2}  # bytes of a value: float, uint8, int8, int32, int64, float16
_LISTS = {1: 4, 2: 5, 3: 5, 6: 5, 7: 7, 10: 5}  # the field that holds them where raw_data does not
# Attributes of each operator with the least and the largest whole number that they may have.
_AXIS = {"axis": (0, 8)}
_OPERATORS: dict[str, dict[str, tuple[int, int]]] = {
    "Sub": {},
    "Div": {},
    "Clip": {},
    "Cast": {"to": (1, 1)},
    "Relu": {},
    "Reshape": {"allowzero": (0, 1)},
    "QuantizeLinear": _AXIS,
    "DequantizeLinear": _AXIS,
    "Concat": _AXIS,
    "ReduceMax": {"keepdims": (0, 1), "noop_with_empty_axes": (0, 0)},
    "Conv": {"group": (1, 1), "pads": (0, 512), "strides": (1, 1), "dilations": (1, 1), "kernel_shape": (1, 1024)},
    "MaxPool": {"storage_order": (0, 0), "ceil_mode": (0, 0), "pads": (0, 0), "strides": (1, 64)}
    | {"dilations": (1, 1), "kernel_shape": (1, 64)},
    "Gemm": {"transA": (0, 0), "transB": (0, 1)},
}
_FIELDS = {1: 2, 2: 3, 3: 4, 7: 8}  # of an attribute by its type: float, whole number, text, whole numbers
_ALLOWED = {"alpha": 1, "beta": 1, "auto_pad": b"NOTSET"}  # other attributes: their type, or their text


def check_onnx(content: bytes):
    """ValueError with the reason in a few words, unless `content` is a network of the kind that is exported here."""
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has {len(content):,} bytes, more than {MAX_BYTES:,}")
    model = _parse(content, _MODEL)
    if len(model[7]) != 1:
        raise ValueError("it holds no graph")
    for text in (*model[2], *model[3], *(text for entry in model[14] for text in (*entry[1], *entry[2]))):
        if len(text) > MAX_TEXT_BYTES:
            raise ValueError("a text in it is too long")
    _check_graph(model[7][0])


# The wire format of protocol buffers ---------------------------------------------------------------------------------


def _parse(content: bytes, fields: dict) -> dict[int, list]:
    """The values of each of `fields` in a message. What is not of `fields`, or there too often, is refused."""
    values: dict[int, list] = {number: [] for number in fields}
    for number, wire, value in _fields(content):
        if number not in fields:
            raise ValueError(f"field {number} of a message is none of a network's")
        values[number] += _values(fields[number][1], wire, value)
        if fields[number][0] == "one" and len(values[number]) > 1:
            raise ValueError(f"field {number} of a message is there twice")
    return values


def _fields(content: bytes) -> Iterator[tuple[int, int, Any]]:
    """Number, wire type and value of each field: a whole number, or bytes."""
    value: int | bytes
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(content, place)
        elif wire in (2, 5):
            size, place = _varint(content, place) if wire == 2 else (4, place)
            value, place = content[place : place + size], place + size
        else:
            raise ValueError("it is no file of ONNX")
        if place > len(content):
            raise ValueError("it is truncated")
        yield number, wire, value


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(content):
            raise ValueError("it is truncated")
        byte, place = content[place], place + 1
        value |= (byte & 127) << shift
        if byte < 128:
            if value >= 2**64:
                break
            return value, place
    raise ValueError("it is no file of ONNX")


def _values(kind: str | dict, wire: int, value: Any) -> list:
    """The values of a field: whole numbers and floats may be packed into one."""
    if isinstance(kind, dict) and wire == 2:
        return [_parse(value, kind)]
    if kind == BYTES and wire == 2:
        return [value]
    if kind == FLOAT and wire in (2, 5) and len(value) % 4 == 0:
        return [number for (number,) in struct.iter_unpack("<f", value)]
    if kind == INT and wire == 0:
        return [_signed(value)]
    if kind == INT and wire == 2:
        numbers, place = [], 0
        while place < len(value):
            number, place = _varint(value, place)
            numbers.append(_signed(number))
        return numbers
    raise ValueError("a field of it is of another kind")


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


# The graph -----------------------------------------------------------------------------------------------------------


def _check_graph(graph: dict):
    """Names are given once and before they are used; what a beat needs is within reason."""
    if max(len(part) for part in graph.values()) > MAX_PARTS:
        raise ValueError(f"it has more than {MAX_PARTS:,} parts of a kind")
    shapes: dict[bytes, list[int]] = {}  # of what is the same for all beats
    sizes: dict[bytes, int] = {}  # of every value, for one beat
    for tensor in graph[5]:
        shapes[_one(tensor[8])] = _shape(tensor)
        _give(sizes, _one(tensor[8]), math.prod(_shape(tensor)))
    for value in graph[11]:
        _give(sizes, _one(value[1]), _size_a_beat(value))
    rows = {_one(value[1]) for value in graph[11]}  # what still has the shape of an input
    values = products = constants = 0
    for node in graph[1]:
        inputs, output = node[1], _one(node[2])
        if not inputs or any(name not in sizes for name in inputs):
            raise ValueError("the inputs of an operator are not there")
        operator = _one(node[4]).decode("ascii", "replace")
        size, work = _cost(operator, node, sizes, shapes)
        _give(sizes, output, size)
        if inputs[0] in shapes:
            shapes[output], constants = shapes[inputs[0]], constants + size
            continue
        if operator in ("Sub", "Div"):
            if inputs[0] not in rows or [shapes.get(name) for name in inputs[1:]] != [[size]]:
                raise ValueError(f"a {operator} of it is not that of the features")
            rows.add(output)
        values, products = values + size, products + work
    if values > MAX_VALUES or products > MAX_PRODUCTS or constants > MAX_BYTES:
        raise ValueError("it takes too much memory or time for a beat")


def _one(values: list) -> Any:
    if len(values) != 1:
        raise ValueError("a part of it has no name or kind, or several")
    return values[0]


def _give(sizes: dict[bytes, int], name: bytes, size: int):
    if name in sizes or not 0 < len(name) < 1000:
        raise ValueError("a name in it is empty, too long, or given twice")
    sizes[name] = size


def _shape(tensor: dict) -> list[int]:
    """The dimensions of a tensor that is as long as they say."""
    dimensions, kind, raw = tensor[1], _one(tensor[2]), tensor[9]
    if kind not in _BYTES or len(dimensions) > 4 or any(not 0 < length <= MAX_BYTES for length in dimensions):
        raise ValueError("a tensor in it is of another kind or shape")
    held = len(raw[0]) / _BYTES[kind] if raw else len(tensor[_LISTS[kind]])
    used = [number for number in (4, 5, 7) if tensor[number]]
    if held != math.prod(dimensions) or used != ([] if raw else [_LISTS[kind]]):
        raise ValueError("a tensor in it is not as long as its shape")
    return dimensions


def _size_a_beat(value: dict) -> int:
    """Numbers of an input for one beat; the number of beats is its first dimension."""
    dimensions = _one(_one(_one(value[2])[1])[2])[1]
    lengths = [length for dimension in dimensions[1:] for length in dimension[1]]
    if len(lengths) != len(dimensions) - 1 or any(not 0 < length <= MAX_VALUES for length in lengths):
        raise ValueError("an input of it is of another shape")
    return math.prod(lengths)


def _cost(operator: str, node: dict, sizes: dict[bytes, int], shapes: dict[bytes, list[int]]) -> tuple[int, int]:
    """The most values that a node gives for one beat, and the products that it takes.

    They are the same however its input is shaped: pads make no more of a convolution than its kernel takes away.
    """
    settings, inputs = _settings(operator, node), node[1]
    if inputs[0] in shapes and operator not in ("DequantizeLinear", "Cast"):
        raise ValueError(f"a {operator} of it does not work on beats")
    size = sizes[inputs[0]]
    if operator == "MaxPool":
        window = settings.get("kernel_shape", []) + settings.get("strides", [1])
        if len(window) != 2:
            raise ValueError("the window of a MaxPool of it is missing")
        return size // min(window), 0
    if operator == "Concat":
        return sum(sizes[name] for name in inputs), 0
    if operator not in ("Conv", "Gemm"):
        return size, 0
    weight = shapes.get(inputs[1], []) if len(inputs) > 1 else []
    if len(weight) != (3 if operator == "Conv" else 2):
        raise ValueError(f"the weights of a {operator} are not those of a network")
    if operator == "Conv" and sum(settings.get("pads", [])) >= weight[2]:
        raise ValueError("a convolution of it is padded by more than its kernel")
    if operator == "Gemm" and not settings.get("transB", [0])[0]:
        weight = weight[::-1]
    size = weight[0] * math.ceil(size / weight[1])
    return size, size * math.prod(weight[1:])


def _settings(operator: str, node: dict) -> dict[str, list[int]]:
    """The whole numbers among the attributes of a node, which are all as they may be."""
    if operator not in _OPERATORS:
        raise ValueError(f"operator {operator[:40]!r} is none of a network's")
    settings: dict[str, list[int]] = {}
    for attribute in node[5]:
        name, kind = _one(attribute[1]).decode("ascii", "replace"), _one(attribute[20])
        field = _FIELDS.get(kind)
        if name in settings or any(attribute[other] for other in _FIELDS.values() if other != field):
            raise ValueError(f"an attribute of a {operator} is given twice")
        settings[name] = attribute[field] if kind in (2, 7) else []
        low, high = _OPERATORS[operator].get(name, (1, 0))
        whole = kind in (2, 7) and low <= high and all(low <= number <= high for number in settings[name])
        if not (whole or _ALLOWED.get(name) in (kind, *attribute[4])):
            raise ValueError(f"attribute {name[:40]!r} of a {operator} is none of a network's")
    return settings
