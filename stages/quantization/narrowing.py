"""Ranges as narrow as the logits want them.

A tensor's largest values are rare, and a range that ends below them has finer steps for all the
others. Whether that is worth what it cuts off depends on what comes after: in front of a SiLU
hardly anything is lost, while in front of the last pooling the rare values tell the classes apart.
So each tensor by itself is rounded in the float model, with ranges that get narrower by and by, and
keeps the one with which the logits are nearest to the float model's.
Source of judging steps by the end of the network: Y. Nahshan et al., Loss aware post-training
quantization, 2021.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto
from onnx.helper import make_node, make_tensor_value_info

from stages.inference.session import open_session
from stages.measurement.noise import relative_noise
from stages.quantization.ranges import ACTIVATION_LEVELS, Range

NARROWER = np.float32(2 ** -0.5)  # from one range that is tried to the next
PATIENCE = 2  # ranges in a row that are no better, after which no narrower one is tried
QUIET = 1e-5  # of the logits' power: noise that nothing is tried against
SMALLEST = 1e-30  # range that has steps

SCALE, ZERO_POINT = "narrowing:scale", "narrowing:zero_point"
Feeds = Sequence[dict[str, np.ndarray]]


def narrow_ranges(model: onnx.ModelProto, ranges: dict[str, Range], tensors: Iterable[str],
                  feeds: Feeds) -> dict[str, Range]:
    """`ranges` by tensor of the float `model`, with those of `tensors` as narrow as is best.

    Args:
        tensors: that quantization rounds; those without a range are left.
        feeds: batches by the name of the model's input, all held in memory.
    """
    session = open_session(model.SerializeToString())
    reference = np.concatenate([session.run(None, feed)[0] for feed in feeds])
    return ranges | {name: _narrowed(_Rounded(model, name, feeds, reference), ranges[name])
                     for name in tensors if name in ranges}


class _Rounded:
    """The float model with one tensor rounded; reference: logits of the float model as it is."""

    def __init__(self, model: onnx.ModelProto, name: str, feeds: Feeds,
                 reference: np.ndarray) -> None:
        rounding = with_rounded(model, {name: (SCALE, ZERO_POINT)})
        rounding.graph.input.extend([make_tensor_value_info(SCALE, TensorProto.FLOAT, []),
                                     make_tensor_value_info(ZERO_POINT, TensorProto.UINT8, [])])
        self._session = open_session(rounding.SerializeToString())
        self._feeds, self._reference = feeds, reference

    def noise(self, lowest: np.float32, highest: np.float32) -> float:
        """Of the logits, a ratio of powers, with the tensor rounded to steps of this range."""
        scale = (highest - lowest) / np.float32(ACTIVATION_LEVELS - 1)
        steps = {SCALE: np.array(scale), ZERO_POINT: np.array(np.rint(-lowest / scale), np.uint8)}
        logits = [self._session.run(None, feed | steps)[0] for feed in self._feeds]
        return relative_noise(self._reference, np.concatenate(logits))


def _narrowed(rounded: _Rounded, seen: Range) -> Range:
    """The range within `seen` that leaves the least noise, of those that are tried."""
    zero = np.float32(0)  # which always is a step
    best = min(seen[0], zero), max(seen[1], zero)
    if best[1] - best[0] < SMALLEST or (least := rounded.noise(*best)) <= QUIET:
        return seen
    worse = 0
    for candidate in _narrower(*best):
        noise = rounded.noise(*candidate)
        if noise < least:
            best, least, worse = candidate, noise, 0
        elif (worse := worse + 1) == PATIENCE:
            break
    return best


def _narrower(lowest: np.float32, highest: np.float32) -> Iterator[Range]:
    """What [-t, t] leaves of a range for ever smaller t, down to one of its levels."""
    threshold = max(-lowest, highest)
    for _ in range(round(np.log(1 / ACTIVATION_LEVELS) / np.log(NARROWER))):
        threshold *= NARROWER
        yield max(lowest, -threshold), min(highest, threshold)


def with_rounded(model: onnx.ModelProto, steps: Mapping[str, tuple[str, str]]) -> onnx.ModelProto:
    """A copy of `model` in which all that reads a tensor named in `steps` reads it rounded.

    Args:
        steps: the names of scale and zero point by tensor, which the graph is yet to be given, as
            inputs or as constants.
    """
    result = copy.deepcopy(model)
    nodes: list[onnx.NodeProto] = []

    def add_pair(name: str) -> None:
        nodes.extend([make_node("QuantizeLinear", [name, *steps[name]], [f"{name}_levels"]),
                      make_node("DequantizeLinear", [f"{name}_levels", *steps[name]],
                                [f"{name}_rounded"])])

    for value in result.graph.input:
        if value.name in steps:
            add_pair(value.name)
    for node in result.graph.node:
        node.input[:] = [f"{name}_rounded" if name in steps else name for name in node.input]
        nodes.append(node)
        for name in node.output:
            if name in steps:
                add_pair(name)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result
