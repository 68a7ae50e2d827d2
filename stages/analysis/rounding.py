"""What rounding weights to INT8 does by itself, with everything else left in float.

A layer's weights are rounded to 255 steps of one size. Per tensor, the step follows from the
largest weight of the whole layer; per channel, from the largest of each output channel.
Source: R. Krishnamoorthi, Quantizing deep convolutional networks for efficient inference, 2018.
"""

import copy

import numpy as np
import onnx
from onnx import numpy_helper

from stages.onnx_graph.layers import weights_of, with_weights
from stages.quantization.ranges import LARGEST_WEIGHT
from stages.quantization.stored_weights import stored_weights


def round_weights(weights: np.ndarray, *, per_channel: bool) -> np.ndarray:
    """Round to signed INT8, symmetric, and back to float32; shape (channels, ...)."""
    axes = tuple(range(1, weights.ndim)) if per_channel else None
    step = np.abs(weights).max(axis=axes, keepdims=True) / LARGEST_WEIGHT
    step = np.where(step == 0, 1, step)
    return (np.round(weights / step) * step).astype(np.float32)


def channel_spread(weights: np.ndarray) -> float:
    """Largest weight of the widest output channel over that of the median channel."""
    largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    return float(largest.max()) / max(float(np.median(largest)),
                                      float(np.finfo(np.float32).tiny))


def with_rounded_weights(model: onnx.ModelProto, *, per_channel: bool) -> onnx.ModelProto:
    """A copy of `model` whose weights are rounded to INT8; it computes in float throughout."""
    return with_weights(model, {name: round_weights(weights, per_channel=per_channel)
                                for name, weights in weights_of(model).items()})


def with_float_weights(quantized: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the QDQ model `quantized` with the float weights of `model`: what is left
    quantized are the activations alone (and biases, whose 32 bits lose next to nothing).
    """
    result = copy.deepcopy(quantized)
    weights = weights_of(model)
    restored = {stored.output: name for name, stored in stored_weights(quantized).items()
                if name in weights}
    for node in [each for each in result.graph.node if each.output[0] in restored]:
        result.graph.node.remove(node)
    for node in result.graph.node:
        for index, name in enumerate(node.input):
            if name in restored:
                node.input[index] = restored[name]
    result.graph.initializer.extend(numpy_helper.from_array(weights[name], name)
                                    for name in restored.values())
    return result
