"""What several tests share."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TORCH = ("torch", "torchao", "onnx", "onnxscript")  # what requirements-pi.txt does not install
