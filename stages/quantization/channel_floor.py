"""A floor under the weights of output channels that are all but dead.

A bias is stored as int32 in steps of (input step * weight step of its channel). Where the weights
of a channel are next to nothing, so is that step, and the bias does not fit. Where they are zero,
the quantizer takes 1 for their step, and rounds the bias to whole input steps.
"""

import copy

import numpy as np
import onnx
from onnx import numpy_helper

from stages.onnx_graph.layers import weighted_layers
from stages.quantization.ranges import ACTIVATION_LEVELS, Range

INT32_MAX = np.iinfo(np.int32).max
# Above the quantizer's own limit, so that it has nothing left to widen.
MARGIN = 1.01


def with_channel_floor(model: onnx.ModelProto, ranges: dict[str, Range]) -> onnx.ModelProto:
    """A copy of `model` in which every bias fits int32 once its layer is quantized.

    The largest weight of a channel is raised to the floor that the bias asks for. An output moves
    by at most 3.1e-5 of its bias; applying it twice changes nothing more.

    Args:
        ranges: calibrated ranges by tensor; a layer whose input has none is left alone.
    """
    result = copy.deepcopy(model)
    constants = {tensor.name: tensor for tensor in result.graph.initializer}
    for node, name in weighted_layers(result):
        bias = node.input[2] if len(node.input) > 2 else ""
        if bias in constants and node.input[0] in ranges:
            floor = _floor(numpy_helper.to_array(constants[bias]).reshape(-1),
                           ranges[node.input[0]])
            raised = _raise(numpy_helper.to_array(constants[name]), floor)
            constants[name].CopyFrom(numpy_helper.from_array(raised, name))
    return result


def _floor(bias: np.ndarray, span: Range) -> np.ndarray:
    """The least that the largest weight of each channel may be: float32, shape of `bias`."""
    lowest, highest = min(float(span[0]), 0.0), max(float(span[1]), 0.0)
    step = (highest - lowest) / (ACTIVATION_LEVELS - 1) or 1.0
    least = np.abs(bias, dtype=np.float64) * MARGIN / (INT32_MAX * step)
    return (least * (ACTIVATION_LEVELS - 1)).astype(np.float32)


def _raise(weights: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """`weights`, shape (channels, ...), whose largest one by channel is at least `floor`."""
    flat = weights.reshape(len(weights), -1).copy()
    channel = np.arange(len(flat))
    largest = np.abs(flat).argmax(axis=1)
    values = flat[channel, largest]
    low = np.abs(values) < floor
    flat[channel[low], largest[low]] = np.where(values < 0, -floor, floor)[low]
    return flat.reshape(weights.shape)
