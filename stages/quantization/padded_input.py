"""The first convolution on four channels in place of three, which ONNX Runtime runs faster.

Its kernels for symmetric weights take input channels by fours; with three, each window is copied
first (docs/precision.md). A fourth channel of zeros, with zeros for weights, changes no number.
"""

import copy

import numpy as np
import onnx
from onnx import helper, numpy_helper

from stages.onnx_graph.attributes import attributes
from stages.onnx_graph.readers import readers_of

CHANNELS_AT_A_TIME = 4
# In pixels; windows of 16 by 16, as ViT has, are copied faster than they are padded.
LARGEST_KERNEL = 4
LAYER = ("QuantizeLinear", "DequantizeLinear", "Conv")


def with_padded_input(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the QDQ model whose input, once quantized, has channels by fours.

    Its logits are the same to the last bit, but where a CPU cuts sums off (stages.preflight): which
    ones, depends on the kernel.

    Left as it is where they are by fours already, or the input goes elsewhere than to one
    quantized convolution of a small kernel and no groups, or is signed: on x86 ONNX Runtime makes
    signed tensors unsigned when it loads a model, which a padding would stand in the way of.
    """
    result = copy.deepcopy(model)
    graph = result.graph
    readers = readers_of(graph)
    layer, name = [], graph.input[0].name
    for operator in LAYER:
        if [node.op_type for node in readers.get(name, [])] != [operator]:
            return result
        layer += readers[name]
        name = layer[-1].output[0]
    quantize, dequantize, convolution = layer
    constants = {tensor.name: tensor for tensor in graph.initializer}
    stored = _stored_weights(graph, constants, convolution)
    if (stored is None or attributes(convolution).get("group", 1) != 1
            or len(quantize.input) < 3 or quantize.input[2] not in constants
            or constants[quantize.input[2]].data_type != onnx.TensorProto.UINT8):
        return result
    narrow = numpy_helper.to_array(stored)
    missing = -narrow.shape[1] % CHANNELS_AT_A_TIME
    if not missing or max(narrow.shape[2:]) > LARGEST_KERNEL:
        return result
    stored.CopyFrom(numpy_helper.from_array(
        np.pad(narrow, [(0, 0), (0, missing), *[(0, 0)] * (narrow.ndim - 2)]), stored.name))
    padded, amounts = f"{quantize.output[0]}_padded", f"{quantize.output[0]}_padding"
    graph.initializer.append(numpy_helper.from_array(
        np.array([0, 0, 0, 0, 0, missing, 0, 0]), amounts))
    dequantize.input[0] = padded
    graph.node.insert(list(graph.node).index(dequantize), helper.make_node(
        "Pad", [quantize.output[0], amounts, quantize.input[2]], [padded], name=padded))
    return result


def _stored_weights(graph: onnx.GraphProto, constants: dict[str, onnx.TensorProto],
                    convolution: onnx.NodeProto) -> onnx.TensorProto | None:
    """The quantized weights of `convolution`, if they are a constant that no other node reads."""
    readers = readers_of(graph)
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.output[0] == convolution.input[1]:
            alone = len(readers[node.input[0]]) == len(readers[node.output[0]]) == 1
            return constants.get(node.input[0]) if alone else None
    return None
