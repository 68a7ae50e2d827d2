"""What the exported graph, its input, float32 (batch, 3, S, S), its output and nodes are called."""

from pathlib import Path

import onnx

FLOAT_FILE = Path("models/onnx_fp32.onnx")
INPUT, OUTPUT = "input", "logits"


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give a node without a name, or with an earlier one's, a name of its own, in place.

    Layers are kept out of quantization by the names of their nodes.
    """
    taken, seen = {node.name for node in graph.node}, {""}
    for node in graph.node:
        if node.name in seen:
            name = node.output[0]
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
        seen.add(node.name)
