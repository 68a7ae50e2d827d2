"""What a graph costs to run, counted from its shapes."""

import math

import onnx

from stages.onnx_graph.attributes import attributes

DYNAMIC = 1  # a dimension left open, such as the batch, counts as one
COUNTED = ("Conv", "Gemm", "MatMul")


def multiply_accumulates(model: onnx.ModelProto) -> dict[str, int]:
    """Multiply-accumulate operations for one picture, by the output of each node that has any.

    Counted are Conv, Gemm and MatMul.
    """
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    shapes |= {value.name: [side.dim_value or DYNAMIC for side in value.type.tensor_type.shape.dim]
               for value in (*graph.input, *graph.value_info, *graph.output)}
    return {node.output[0]: math.prod(shapes[node.output[0]]) * _depth(node, shapes)
            for node in graph.node if node.op_type in COUNTED and node.output[0] in shapes}


def _depth(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    """How many products are summed for one element of the node's output."""
    if node.op_type == "Conv":
        return math.prod(shapes[node.input[1]][1:])
    return shapes[node.input[0]][0 if attributes(node).get("transA") else -1]
