"""Running a graph for its inner tensors."""

import copy
from collections.abc import Sequence
from typing import Any

import onnx
import onnxruntime
from onnx.helper import make_empty_tensor_value_info

from stages.inference.session import open_session
from stages.onnx_graph.readers import reads


def open_probed(model: onnx.ModelProto, names: Sequence[str], **more: Any
                ) -> onnxruntime.InferenceSession:
    """A session of `model` that puts out the tensors `names`, and runs what they need alone.

    Args:
        more: options of the session, by name.
    """
    probed = copy.deepcopy(model)
    graph, needed, nodes = probed.graph, set(names), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(reads(node))
            nodes.append(node)
    constants = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    for old, new in ((graph.node, nodes[::-1]), (graph.initializer, constants),
                     (graph.output, map(make_empty_tensor_value_info, names)),
                     (graph.value_info, [])):
        del old[:]
        old.extend(new)
    return open_session(probed.SerializeToString(), **more)
