"""The layers of a graph: its nodes that multiply by weights."""

import copy

import numpy as np
import onnx
from onnx import numpy_helper

from stages.onnx_graph.attributes import attributes

# All that have weights; those whose products are counted; and those that make up a layer in what
# looks into layers one by one, where the first axis of a weight is its output channel.
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
COUNTED = ("Conv", "Gemm", "MatMul")
BY_OUTPUT = ("Conv", "Gemm")


def arrays_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The constants of `model` by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def weighted_layers(model: onnx.ModelProto) -> list[tuple[onnx.NodeProto, str]]:
    """The convolutions and fully connected layers of `model` with the names of their weights.

    The first axis of each weight is its output channel: a Gemm without transB is left out.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    return [(node, node.input[1]) for node in model.graph.node
            if node.op_type in BY_OUTPUT and node.input[1] in constants
            and (node.op_type != "Gemm" or attributes(node).get("transB") == 1)]


def matmul_layers(model: onnx.ModelProto) -> list[tuple[onnx.NodeProto, str]]:
    """The MatMul nodes of `model` with the names of their weights, (inputs, outputs)."""
    matrices = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}
    return [(node, node.input[1]) for node in model.graph.node
            if node.op_type == "MatMul" and node.input[1] in matrices]


def weights_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The weights of every weighted layer by name, float32."""
    constants = arrays_of(model)
    return {name: constants[name] for _, name in weighted_layers(model)}


def with_weights(model: onnx.ModelProto, weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A copy of `model` whose weighted layers have `weights`, by name, where there are any."""
    result = copy.deepcopy(model)
    names = {name for _, name in weighted_layers(model)} & weights.keys()
    for tensor in result.graph.initializer:
        if tensor.name in names:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name].astype(np.float32),
                                                    tensor.name))
    return result
