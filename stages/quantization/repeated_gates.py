"""Squeeze-excitation's products, written so that ONNX Runtime runs them faster.

It multiplies a picture by a gate, one number a channel, pixel by pixel: with few channels,
beginning each pixel is what takes the time (docs/precision.md). A gate that is repeated along a row
is multiplied row by row, and gives the same numbers.
"""

import copy

import numpy as np
import onnx
from onnx import helper, numpy_helper

# Between 144 channels, where it gains, and 816, where it does not (docs/precision.md).
MOST_CHANNELS = 256


def with_repeated_gates(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the QDQ model whose gates of few channels are as wide as what they multiply.

    A gate has shape (B, C, 1, 1), what it multiplies (B, C, H, W), with H and W fixed.
    """
    shapes = _shapes(model)
    dequantized = {node.output[0]: node for node in model.graph.node
                   if node.op_type == "DequantizeLinear"}
    result = copy.deepcopy(model)
    del result.graph.node[:]
    for original in model.graph.node:
        node = copy.deepcopy(original)
        if node.op_type == "Mul":
            for index, name in enumerate(node.input):
                picture = shapes.get(node.input[1 - index])
                if name in dequantized and _is_gate(shapes.get(name), picture):
                    node.input[index] = f"{node.output[0]}_gate"
                    _repeat(result.graph, dequantized[name], node.input[index], picture[3])
        result.graph.node.append(node)
    return result


def _is_gate(gate: list[int] | None, picture: list[int] | None) -> bool:
    return (gate is not None and picture is not None and len(gate) == len(picture) == 4
            and gate[1] == picture[1] and 0 < gate[1] <= MOST_CHANNELS
            and gate[2:] == [1, 1] and min(picture[2:]) > 1)


def _repeat(graph: onnx.GraphProto, dequantize: onnx.NodeProto, name: str, times: int) -> None:
    """Add what repeats the output of `dequantize` to `graph`, as the tensor `name`.

    Between quantizations, so that it is the eight-bit tensor that is repeated.
    """
    scale = list(dequantize.input[1:])
    graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 1, times]), f"{name}_times"))
    graph.node.extend([
        helper.make_node("Tile", [dequantize.output[0], f"{name}_times"], [f"{name}_float"],
                         name=f"{name}_repeat"),
        helper.make_node("QuantizeLinear", [f"{name}_float", *scale], [f"{name}_quantized"],
                         name=f"{name}_quantize"),
        helper.make_node("DequantizeLinear", [f"{name}_quantized", *scale], [name],
                         name=f"{name}_dequantize")])


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """The shape of every tensor that has one; 0 stands for a dimension that is not fixed."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
            for value in [*graph.value_info, *graph.input, *graph.output]}
