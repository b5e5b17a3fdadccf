"""Networks for other machines: dynamic int8, ONNX, whole numbers, TFLite, C99."""
