"""Keeping a layer in float for good: ONNX Runtime quantizes what the quantizer left out.

Between dequantization and quantization it rounds a float weight to INT8 per tensor when it loads
a model (its optimizer WeightBiasQuantization), so that a layer named in nodes_to_exclude comes out
worse than quantized per channel. An operator that returns its input, between the dequantization
and the layer, takes the layer out of that pattern; its copy is what a float island costs.
"""

import copy
from collections.abc import Sequence

import onnx
from onnx import helper

from stages.onnx_graph.audit import GUARD

ROUNDED_AT_LOAD = ("Conv", "ConvTranspose", "Gemm")
# It moves a dequantization past these first.
MOVED_PAST = ("MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice")


def with_float_islands(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy of the QDQ model in which the layers named, float already, run in float."""
    dequantized = {node.output[0] for node in model.graph.node
                   if node.op_type == "DequantizeLinear"}
    for node in model.graph.node:
        if node.op_type in MOVED_PAST and node.input[0] in dequantized:
            dequantized.add(node.output[0])
    result, kept, nodes = copy.deepcopy(model), set(names), []
    for node in result.graph.node:
        if (node.name in kept and node.op_type in ROUNDED_AT_LOAD
                and node.input[0] in dequantized):
            guarded = f"{node.name}_float_input"
            # The largest of one tensor is that tensor. Identity would be optimized away.
            nodes.append(helper.make_node(GUARD, [node.input[0]], [guarded],
                                          name=f"{node.name}_stays_float"))
            node.input[0] = guarded
        nodes.append(node)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result
