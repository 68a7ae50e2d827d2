"""What a graph costs to run, counted from the shapes that a run of it has."""

import math
from collections.abc import Iterable

import numpy as np
import onnx

from stages.onnx_graph.attributes import attributes
from stages.onnx_graph.layers import COUNTED
from stages.onnx_graph.probe import open_probed


def multiply_accumulates(model: onnx.ModelProto) -> dict[str, int]:
    """Multiply-accumulate operations for one picture, by the output of each node that has any.

    Counted are Conv, Gemm and MatMul.
    """
    nodes = [node for node in model.graph.node if node.op_type in COUNTED]
    shapes = _shapes(model, {name for node in nodes for name in (*node.input[:2], node.output[0])})
    return {node.output[0]: math.prod(shapes[node.output[0]]) * _depth(node, shapes)
            for node in nodes}


def _shapes(model: onnx.ModelProto, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors `names` for one picture; any other open dimension counts as 1.

    Shape inference gives up where batch and another dimension are reshaped into one.
    """
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    inputs = {value.name: np.zeros([side.dim_value or 1
                                    for side in value.type.tensor_type.shape.dim], np.float32)
              for value in model.graph.input if value.name not in shapes}
    shapes |= {name: array.shape for name, array in inputs.items()}
    if wanted := sorted(set(names) - shapes.keys()):
        results = open_probed(model, wanted).run(wanted, inputs)
        shapes |= {name: array.shape for name, array in zip(wanted, results, strict=True)}
    return shapes


def _depth(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """How many products are summed for one element of the node's output."""
    if node.op_type == "Conv":
        return math.prod(shapes[node.input[1]][1:])
    return shapes[node.input[0]][0 if attributes(node).get("transA") else -1]
