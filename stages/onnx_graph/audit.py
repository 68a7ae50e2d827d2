"""Fusion audit: which compute nodes ONNX Runtime runs in float, and why each of them does."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from stages.onnx_graph.census import runs_in_float
from stages.onnx_graph.layers import WEIGHTED
from stages.onnx_graph.readers import readers_of

# What ONNX Runtime's quantizer knows how to quantize.
KNOWN = {*QDQRegistry, *QLinearOpsRegistry}
# What passes a tensor on in another order or shape; conversions are looked for beyond it.
MOVES = {"ReorderInput", "ReorderOutput", "Transpose", "Reshape", "Flatten", "Squeeze",
         "Unsqueeze", "Identity"}

# Of one input, which it returns: put in by stages/quantization/float_island.py.
GUARD = "Max"

KEEPS_FLOAT = "it keeps the layer behind it in float"
UNSUPPORTED = "the quantizer does not know this operator"
NOTHING_AROUND = "no quantization around it"
FLOAT_INPUT = "an input is not quantized"
GRAPH_OUTPUT = "it gives a graph output, which is not quantized"
FLOAT_OUTPUT = "its output is not quantized"
NO_KERNEL = "quantized on all sides, but there is no integer kernel for it"


def float_nodes(executed: onnx.ModelProto) -> list[dict[str, str]]:
    """The compute nodes of `executed`, as ONNX Runtime runs it, that stayed float.

    Returns:
        One of `operator`, `name` and `reason` for each, in the order of the graph.
    """
    wires = _Wires.of(executed.graph)
    return [{"operator": node.op_type, "name": node.name, "reason": _reason(node, wires)}
            for node in executed.graph.node if runs_in_float(node.op_type)]


@dataclass(frozen=True)
class _Wires:
    """Which node makes each tensor, which read it, and which tensors the graph gives."""

    maker: dict[str, onnx.NodeProto]
    readers: dict[str, list[onnx.NodeProto]]
    given: set[str]
    constants: set[str]

    @classmethod
    def of(cls, graph: onnx.GraphProto) -> "_Wires":
        return cls({output: node for node in graph.node for output in node.output},
                   readers_of(graph), {value.name for value in graph.output},
                   {tensor.name for tensor in graph.initializer})

    def origin(self, tensor: str) -> str:
        """The operator that makes `tensor`, or "" for a constant or a graph input."""
        node = self.maker.get(tensor)
        if node is None:
            return ""
        return self.origin(node.input[0]) if node.op_type in MOVES else node.op_type

    def uses(self, tensor: str) -> Iterator[str]:
        """The operators that read `tensor`, and "" where the graph gives it."""
        if tensor in self.given:
            yield ""
        for node in self.readers.get(tensor, []):
            if node.op_type in MOVES:
                yield from self.uses(node.output[0])
            else:
                yield node.op_type


def _reason(node: onnx.NodeProto, wires: _Wires) -> str:
    """The first rule that `node` meets."""
    operator = node.op_type.removeprefix("Fused")
    if operator == GUARD and len(node.input) == 1:
        return KEEPS_FLOAT
    if operator not in KNOWN:
        return UNSUPPORTED
    quantized = [wires.origin(name) == "DequantizeLinear" for name in node.input
                 if name and (operator in WEIGHTED or name not in wires.constants)]
    uses = set(wires.uses(node.output[0]))
    if not any(quantized) and "QuantizeLinear" not in uses:
        return NOTHING_AROUND
    if not all(quantized):
        return FLOAT_INPUT
    if "QuantizeLinear" in uses:
        return NO_KERNEL
    return GRAPH_OUTPUT if "" in uses else FLOAT_OUTPUT
