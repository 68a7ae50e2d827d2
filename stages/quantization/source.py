"""The float model that is to be quantized, held to what quantization can do."""

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper
from onnx.external_data_helper import uses_external_data

from stages.config.errors import UserError
from stages.onnx_graph.attributes import attributes
from stages.onnx_graph.clean import clean
from stages.onnx_graph.layers import WEIGHTED
from stages.onnx_graph.names import INPUT
from stages.onnx_graph.opset import standard_opset

# Before 13, DequantizeLinear knows no axis, and so no scale by channel.
OLDEST_OPSET = 13
# One of them stands where float meets integers.
ROUNDING_OPERATORS = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}


def load_float_model(path: Path) -> onnx.ModelProto:
    """Read the float model at `path`, cleaned as export cleans, which a file of one's own is not.

    Raises:
        UserError: no such file or no ONNX model, weights in another file, an opset too old, other
            inputs than one of float32 pictures in batches of any number, a height or width left
            open, what is quantized already, nothing that can be quantized, a weight that is not
            finite, a bias that is not one number an output.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; run 'dvc repro export'")
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError:
        raise UserError(f"{path}: not an ONNX model; run 'dvc repro --force export'") from None
    if not model.graph.node:
        raise UserError(f"{path}: not an ONNX model, or an empty one; run 'dvc repro --force "
                        "export'")
    if any(uses_external_data(tensor) for tensor in model.graph.initializer):
        raise UserError(f"{path}: its weights stand in another file; export it as one "
                        "(torch.onnx.export: external_data=False)")
    opset = standard_opset(model)
    if opset < OLDEST_OPSET:
        raise UserError(f"{path}: opset {opset} is too old to be quantized; set export.opset to "
                        f"{OLDEST_OPSET} or more")
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if [value.name for value in inputs] != [INPUT]:
        raise UserError(f"{path}: its inputs are called {', '.join(v.name for v in inputs)}; "
                        f"expected is one, '{INPUT}', of pictures")
    kind, shape = inputs[0].type.tensor_type.elem_type, inputs[0].type.tensor_type.shape.dim
    if kind != TensorProto.FLOAT or len(shape) != 4:
        raise UserError(f"{path}: input '{INPUT}' is {TensorProto.DataType.Name(kind).lower()} of "
                        f"{len(shape)} dimensions; expected is float of 4 (batch, 3, height, "
                        "width)")
    if not all(side.HasField("dim_value") and side.dim_value > 0 for side in shape[2:]):
        raise UserError(f"{path}: input '{INPUT}' leaves its height or width open; "
                        "export it for pictures of one size")
    if shape[0].HasField("dim_value"):
        raise UserError(f"{path}: input '{INPUT}' takes batches of {shape[0].dim_value} alone; "
                        "export it with a dynamic batch")
    # A constant that is listed as an input too could be another at each run.
    for value in [each for each in model.graph.input if each.name in constants]:
        model.graph.input.remove(value)
    if found := sorted(ROUNDING_OPERATORS & {node.op_type for node in model.graph.node}):
        raise UserError(f"{path}: quantized already (it has {', '.join(found)}); expected is the "
                        "float model")
    described = list(model.metadata_props)
    try:
        model = clean(model)
    except (UserError, onnx.shape_inference.InferenceError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None
    model.metadata_props.extend(described)
    _check_weights(model, path)
    return model


def _check_weights(model: onnx.ModelProto, path: Path) -> None:
    """Raises UserError for a model that has none, or not as the quantizer takes them."""
    if not any(node.op_type in WEIGHTED for node in model.graph.node):
        raise UserError(f"{path}: nothing to quantize; it has no "
                        f"{', '.join(WEIGHTED)}")
    weights = {name for node in model.graph.node if node.op_type in WEIGHTED for name in node.input}
    for tensor in model.graph.initializer:
        if tensor.name not in weights:
            continue
        if tensor.data_type != TensorProto.FLOAT:
            kind = TensorProto.DataType.Name(tensor.data_type).lower()
            raise UserError(f"{path}: weight '{tensor.name}' is {kind}; expected is float")
        if not np.isfinite(numpy_helper.to_array(tensor)).all():
            raise UserError(f"{path}: weight '{tensor.name}' holds NaN or infinity; train the "
                            "model again, or with a lower train.lr")
    _check_biases(model, path)


def _check_biases(model: onnx.ModelProto, path: Path) -> None:
    """Raises UserError for a bias that ONNX Runtime's quantizer gets wrong."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Gemm" or len(node.input) < 3 or node.input[2] not in shapes:
            continue
        options = attributes(node)
        outputs = shapes.get(node.input[1], (0, 0))[0 if options.get("transB") else 1]
        if shapes[node.input[2]] != (outputs,) or options.get("beta", 1) != 1:
            raise UserError(f"{path}: the bias of Gemm '{node.name}' has a factor, or is not of "
                            f"shape ({outputs},), which the quantizer gets wrong; export it so")
