"""An ONNX model: made of nodes, run on the CPU for its outputs or inner tensors, its constants."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OnnxModel = onnx.ModelProto | Path
Shapes = dict[str, Sequence[int | str | None] | None]


def model_of(nodes: Sequence[onnx.NodeProto], inputs: Shapes, outputs: Shapes,
             constants: Any = (), opset: int = 18, name: str = "graph") -> onnx.ModelProto:
    """A model of `nodes`: float32 inputs and outputs by shape, constants by name."""
    def values(shapes: Shapes) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape)
                for key, shape in shapes.items()]

    graph = helper.make_graph(nodes, name, values(inputs), values(outputs), [
        numpy_helper.from_array(np.asarray(array), key)
        for key, array in dict(constants).items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def constants_as_nodes(model: onnx.ModelProto) -> None:
    """Write the constants of `model` as Constant nodes, as some exporters do, in place."""
    nodes = [helper.make_node("Constant", [], [tensor.name], value=tensor)
             for tensor in model.graph.initializer]
    nodes.extend(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(nodes)


def session_of(model: OnnxModel, fused: bool = True) -> onnxruntime.InferenceSession:
    """A session of a model or of the file at a path.

    Args:
        fused: False runs the graph as it is written, in float between its roundings: the same on
            every CPU.
    """
    options = onnxruntime.SessionOptions()
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = model if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run(model: OnnxModel, feed: dict[str, np.ndarray], names: Sequence[str] = (),
        fused: bool = True) -> list[np.ndarray]:
    """The outputs for `feed`, arrays by input, or the tensors `names` in their place."""
    opened = _with_outputs(model, names) if names else model
    return session_of(opened, fused).run(list(names) or None, feed)


def _with_outputs(model: OnnxModel, names: Sequence[str]) -> onnx.ModelProto:
    """A copy of `model` that puts out the tensors `names` as well."""
    opened = onnx.load(model) if isinstance(model, Path) else deepcopy(model)
    present = {value.name for value in opened.graph.output}
    opened.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names
                               if name not in present)
    return opened
