"""A small network of linear bottlenecks, a residual chain and ReLU6."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper
from run_onnx import model_of
from synthetic import CLASSES

SIDE, NARROW, WIDE = 8, 6, 12
SPREAD = 10.0 ** np.linspace(-1.5, 0.5, NARROW)


def bottlenecks(dead: Sequence[int] = ()) -> onnx.ModelProto:
    """stem - expand, ReLU6, depthwise, ReLU6, project - plus the stem - expand - pool - head.

    The channels of the stem and of the projection have very different ranges.
    """
    rng = np.random.default_rng(0)

    def weights(*shape):
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    arrays = {"stem": weights(NARROW, 3, 3, 3), "expand": weights(WIDE, NARROW, 1, 1),
              "depthwise": weights(WIDE, 1, 3, 3), "project": weights(NARROW, WIDE, 1, 1),
              "expand2": weights(WIDE, NARROW, 1, 1), "head": weights(len(CLASSES), WIDE),
              "bias": weights(NARROW), "bias2": weights(NARROW),
              "shift": weights(len(CLASSES)), "low": np.float32(0), "high": np.float32(6)}
    spread = SPREAD.astype(np.float32)
    for name in ("stem", "project"):
        arrays[name] = arrays[name] * spread[:, None, None, None]
    for name in ("expand", "expand2"):
        arrays[name] = arrays[name] / spread[None, :, None, None]
    for name in ("stem", "project", "bias", "bias2"):
        arrays[name][list(dead)] = 0
    nodes = [helper.make_node("Conv", ["input", "stem", "bias"], ["a"], pads=[1] * 4),
             helper.make_node("Conv", ["a", "expand"], ["b"]),
             helper.make_node("Clip", ["b", "low", "high"], ["b6"]),
             helper.make_node("Conv", ["b6", "depthwise"], ["c"], group=WIDE, pads=[1] * 4),
             helper.make_node("Clip", ["c", "low", "high"], ["c6"]),
             helper.make_node("Conv", ["c6", "project", "bias2"], ["d"]),
             helper.make_node("Add", ["d", "a"], ["s"]),
             helper.make_node("Conv", ["s", "expand2"], ["e"]),
             helper.make_node("Relu", ["e"], ["r"]),
             helper.make_node("GlobalAveragePool", ["r"], ["p"]),
             helper.make_node("Flatten", ["p"], ["f"]),
             helper.make_node("Gemm", ["f", "head", "shift"], ["logits"], transB=1)]
    for node in nodes:
        node.name = node.output[0]
    return model_of(nodes, {"input": ["batch", 3, SIDE, SIDE]},
                    {"logits": ["batch", len(CLASSES)]}, arrays)
