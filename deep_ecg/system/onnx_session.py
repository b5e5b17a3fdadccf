"""Sessions of onnxruntime as this project runs them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SILENT = 4  # onnxruntime then writes nothing of its own: what goes wrong is raised


def session_of(content: bytes) -> "InferenceSession":
    """The network in `content`, an ONNX file, on one thread; onnxruntime's own exceptions where it is none."""
    import onnxruntime  # only where it is used: it slows every start

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = SILENT
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
