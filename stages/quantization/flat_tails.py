"""Ranges that end where the activation that reads a tensor is flat.

SiLU and hard swish make next to nothing of a value far below zero. A convolution in front of one
may still put out -80, and when its range goes down to there, half of the 256 steps tell apart what
comes to the same. So the range is cut off at a point below which the activation hardly changes.
ReLU6 needs no such thing: it becomes part of the convolution, whose range is that of its output.
"""

from collections import defaultdict

import numpy as np
import onnx

from stages.quantization.ranges import Range

# By the operators that read a tensor, sorted: where their result is within 0.015 of zero from there
# down (SiLU, whose least value is -0.28), and exactly zero (hard swish).
FLAT_BELOW = {("Mul", "Sigmoid"): np.float32(-6), ("HardSwish",): np.float32(-3)}


def cut_flat_tails(model: onnx.ModelProto, ranges: dict[str, Range]) -> dict[str, Range]:
    """`ranges` by tensor of the float `model`, cut off where what reads the tensor is flat."""
    readers = defaultdict(list)
    for node in model.graph.node:
        for name in set(node.input):
            readers[name].append(node)
    outputs = {value.name for value in model.graph.output}
    result = dict(ranges)
    for name in ranges.keys() - outputs:
        flat = FLAT_BELOW.get(tuple(sorted(node.op_type for node in readers[name])))
        if flat is not None and _is_activation(readers[name]):
            lowest, highest = ranges[name]
            result[name] = max(lowest, flat), max(highest, flat)
    return result


def _is_activation(nodes: list[onnx.NodeProto]) -> bool:
    """Whether `nodes`, where they are two, are a sigmoid and a product with its result."""
    gates = [node.output[0] for node in nodes if node.op_type == "Sigmoid"]
    return len(nodes) == 1 or any(gates[0] in node.input for node in nodes)
