"""Ranges that end where the activation that reads a tensor is flat.

SiLU and hard swish make next to nothing of a value far below zero. A convolution in front of one
may still put out -80, and when its range goes down to there, half of the 256 steps tell apart what
comes to the same. So the range is cut off at a point below which the activation hardly changes.
ReLU6 needs no such thing: it becomes part of the convolution, whose range is that of its output.
"""

import numpy as np
import onnx

from stages.onnx_graph.readers import readers_of, silu_output
from stages.quantization.ranges import Range

# From there down SiLU, whose least value is -0.28, is within 0.015 of zero, and hard swish is zero.
SILU_FLAT, HARD_SWISH_FLAT = np.float32(-6), np.float32(-3)


def cut_flat_tails(model: onnx.ModelProto, ranges: dict[str, Range]) -> dict[str, Range]:
    """`ranges` by tensor of the float `model`, cut off where what reads the tensor is flat."""
    readers = readers_of(model.graph)
    result = dict(ranges)
    for name in ranges.keys() - {value.name for value in model.graph.output}:
        nodes = readers.get(name, [])
        if silu_output(nodes):
            flat = SILU_FLAT
        elif [node.op_type for node in nodes] == ["HardSwish"]:
            flat = HARD_SWISH_FLAT
        else:
            continue
        lowest, highest = ranges[name]
        result[name] = max(lowest, flat), max(highest, flat)
    return result
