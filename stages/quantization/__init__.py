"""From a float ONNX graph to INT8."""
