"""All of requirements.txt: imported first by what trains, converts or measures networks.

Where a package is missing, that ends the program with one line, as it does for those that everything needs.
"""

from deep_ecg import require

PACKAGES = ("onnx", "onnxscript", "torch")

require(PACKAGES)
