"""What nodes read, which nodes read a tensor, and whether they gate it, as SiLU does."""

from collections.abc import Iterator, Sequence

import onnx


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """The tensors that a node reads, those in the branches of an If or a Loop too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from reads(inner)


def readers_of(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read each tensor, in branches too, in the order of the graph, each once."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in dict.fromkeys(reads(node)):
            readers.setdefault(name, []).append(node)
    return readers


def gate_and_product(nodes: Sequence[onnx.NodeProto]
                     ) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
    """The two nodes of x · gate(x), if `nodes`, all the readers of x, are that.

    The gate of SiLU is a Sigmoid, that of hard swish a HardSigmoid where it is no HardSwish.
    """
    gates = [node for node in nodes if node.op_type in ("Sigmoid", "HardSigmoid")]
    products = [node for node in nodes if node.op_type == "Mul"]
    if len(nodes) != 2 or not gates or not products or (
            gates[0].output[0] not in products[0].input):
        return None
    return gates[0], products[0]
