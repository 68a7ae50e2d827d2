"""What nodes read, which nodes read a tensor, and whether they are a SiLU."""

from collections.abc import Iterator, Sequence

import onnx


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """The tensors that a node reads, those in the branches of an If or a Loop too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from reads(inner)


def readers_of(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read each tensor, in the order of the graph, each once."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    return readers


def silu_output(nodes: Sequence[onnx.NodeProto]) -> str | None:
    """What SiLU gives, if `nodes`, all the readers of a tensor, are one: a Sigmoid and a Mul."""
    if sorted(node.op_type for node in nodes) != ["Mul", "Sigmoid"]:
        return None
    product, gate = sorted(nodes, key=lambda node: node.op_type)
    return product.output[0] if gate.output[0] in product.input else None
