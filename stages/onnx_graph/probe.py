"""Running a graph for its inner tensors."""

import copy
from collections.abc import Iterator, Sequence

import onnx
import onnxruntime
from onnx.helper import make_empty_tensor_value_info

from stages.measurement.session import open_session


def open_probed(model: onnx.ModelProto, names: Sequence[str]) -> onnxruntime.InferenceSession:
    """A session of `model` that puts out the tensors `names`, and runs what they need alone."""
    probed = copy.deepcopy(model)
    graph, needed, nodes = probed.graph, set(names), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(_reads(node))
            nodes.append(node)
    constants = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    for old, new in ((graph.node, nodes[::-1]), (graph.initializer, constants),
                     (graph.output, map(make_empty_tensor_value_info, names)),
                     (graph.value_info, [])):
        del old[:]
        old.extend(new)
    return open_session(probed.SerializeToString())


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """The tensors that a node reads, those in the branches of an If or a Loop too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _reads(inner)
