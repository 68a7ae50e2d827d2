"""The float model that is to be quantized, held to what quantization can do."""

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper

from stages.config.errors import UserError
from stages.onnx_graph.layers import WEIGHTED
from stages.onnx_graph.names import INPUT, name_nodes
from stages.onnx_graph.opset import standard_opset

# Before 13, DequantizeLinear knows no axis, and so no scale by channel.
OLDEST_OPSET = 13


def load_float_model(path: Path) -> onnx.ModelProto:
    """Read the float model at `path`; each of its nodes has a name.

    Raises:
        UserError: no such file or no ONNX model, an opset too old, other inputs than one of
            pictures, a height or width left open, nothing that can be quantized, a weight that is
            not finite.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; run 'dvc repro export'")
    try:
        model = onnx.load(path)
    except DecodeError:
        raise UserError(f"{path}: not an ONNX model; run 'dvc repro --force export'") from None
    if not model.graph.node:
        raise UserError(f"{path}: not an ONNX model, or an empty one; run 'dvc repro --force "
                        "export'")
    opset = standard_opset(model)
    if opset < OLDEST_OPSET:
        raise UserError(f"{path}: opset {opset} is too old to be quantized; set export.opset to "
                        f"{OLDEST_OPSET} or more")
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if [value.name for value in inputs] != [INPUT]:
        raise UserError(f"{path}: its inputs are called {', '.join(v.name for v in inputs)}; "
                        f"expected is one, '{INPUT}', of pictures")
    for value in inputs:
        sides = value.type.tensor_type.shape.dim[2:]
        if not all(side.HasField("dim_value") and side.dim_value > 0 for side in sides):
            raise UserError(f"{path}: input '{value.name}' leaves its height or width open; "
                            "export it for pictures of one size")
    if not any(node.op_type in WEIGHTED for node in model.graph.node):
        raise UserError(f"{path}: nothing to quantize; it has no "
                        f"{', '.join(WEIGHTED)}")
    weights = {name for node in model.graph.node if node.op_type in WEIGHTED for name in node.input}
    for tensor in model.graph.initializer:
        if tensor.name in weights and tensor.data_type == TensorProto.FLOAT and not np.isfinite(
                numpy_helper.to_array(tensor)).all():
            raise UserError(f"{path}: weight '{tensor.name}' holds NaN or infinity; train the "
                            "model again, or with a lower train.lr")
    name_nodes(model.graph)
    return model
