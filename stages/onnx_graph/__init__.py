"""From a PyTorch module to a clean ONNX graph, and what is in it."""
