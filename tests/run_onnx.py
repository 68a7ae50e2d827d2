"""An ONNX graph run on the CPU, for its outputs or for its inner tensors."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx.helper import make_empty_tensor_value_info

OnnxModel = onnx.ModelProto | Path


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
    opened.graph.output.extend(make_empty_tensor_value_info(name) for name in names
                               if name not in present)
    return opened
