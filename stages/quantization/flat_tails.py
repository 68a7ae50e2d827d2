"""Ranges that end where the activation that reads a tensor is flat.

SiLU and hard swish make next to nothing of a value far below zero. A convolution in front of one
may still put out -80, and when its range goes down to there, half of the 256 steps tell apart what
comes to the same. So the range is cut off at a point below which the activation hardly changes.
ReLU6 needs no such thing: it becomes part of the convolution, whose range is that of its output.
"""

from collections.abc import Sequence

import numpy as np
import onnx

from stages.onnx_graph.attributes import attributes
from stages.onnx_graph.readers import gate_and_product, readers_of
from stages.quantization.ranges import Range

# From there down SiLU, whose least value is -0.28, is within 0.015 of zero, and hard swish is zero.
SILU_FLAT, HARD_SWISH_FLAT = np.float32(-6), np.float32(-3)


def cut_flat_tails(model: onnx.ModelProto, ranges: dict[str, Range]) -> dict[str, Range]:
    """`ranges` by tensor of the float `model`, cut off where what reads the tensor is flat."""
    readers = readers_of(model.graph)
    result = dict(ranges)
    for name in ranges.keys() - {value.name for value in model.graph.output}:
        flat = _flat_below(readers.get(name, []))
        if flat is not None:
            lowest, highest = ranges[name]
            result[name] = max(lowest, flat), max(highest, flat)
    return result


def _flat_below(nodes: Sequence[onnx.NodeProto]) -> np.float32 | None:
    """Below which value the activation that `nodes`, all readers of a tensor, are is flat."""
    if [node.op_type for node in nodes] == ["HardSwish"]:
        return HARD_SWISH_FLAT
    if not (found := gate_and_product(nodes)):
        return None
    if found[0].op_type == "Sigmoid":
        return SILU_FLAT
    slope, middle = (attributes(found[0]).get(key, default)
                     for key, default in (("alpha", 0.2), ("beta", 0.5)))
    return np.float32(-middle / slope) if slope > 0 else None
