"""What a graph costs to run, counted from its shapes."""

import math

import onnx

DYNAMIC = 1  # a dimension left open, such as the batch, counts as one


def multiply_accumulates(model: onnx.ModelProto) -> int:
    """Multiply-accumulate operations for one picture, of Conv, Gemm and MatMul nodes."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    shapes |= {value.name: [dim.dim_value or DYNAMIC for dim in value.type.tensor_type.shape.dim]
               for value in (*graph.input, *graph.value_info, *graph.output)}
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            transposed = any(entry.name == "transA" and entry.i for entry in node.attribute)
            inner = shapes[node.input[0]][0 if transposed else -1]
            total += math.prod(shapes[node.output[0]]) * inner
    return total
