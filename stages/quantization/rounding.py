"""What rounding weights to INT8 does by itself, with everything else left in float.

A layer's weights are rounded to 255 steps of one size. Per tensor, the step follows from the
largest weight of the whole layer; per channel, from the largest of each output channel.
Source: R. Krishnamoorthi, Quantizing deep convolutional networks for efficient inference, 2018.
"""

import copy

import numpy as np
import onnx
from onnx import numpy_helper

from stages.quantization.stored_weights import SUFFIX

LARGEST_WEIGHT = 127  # of signed, symmetric INT8


def weighted_layers(model: onnx.ModelProto) -> list[tuple[onnx.NodeProto, str]]:
    """The convolutions and fully connected layers of `model` with the names of their weights.

    The first axis of each weight is its output channel, as export writes it (Gemm with transB).
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    return [(node, node.input[1]) for node in model.graph.node
            if node.op_type in ("Conv", "Gemm") and node.input[1] in constants]


def weights_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The weights of every weighted layer by name, float32."""
    names = {name for _, name in weighted_layers(model)}
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
            if tensor.name in names}


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


def with_weights(model: onnx.ModelProto, weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A copy of `model` whose weighted layers have `weights`, by name, where there are any."""
    result = copy.deepcopy(model)
    names = {name for _, name in weighted_layers(model)} & weights.keys()
    for tensor in result.graph.initializer:
        if tensor.name in names:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name].astype(np.float32),
                                                    tensor.name))
    return result


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
    restored = {}
    for node in list(result.graph.node):
        source = node.input[0].removesuffix(SUFFIX) if node.input else ""
        if node.op_type == "DequantizeLinear" and source in weights:
            restored[node.output[0]] = source
            result.graph.node.remove(node)
    for node in result.graph.node:
        for index, name in enumerate(node.input):
            if name in restored:
                node.input[index] = restored[name]
    result.graph.initializer.extend(numpy_helper.from_array(weights[name], name)
                                    for name in restored.values())
    return result


def signal_to_noise_db(reference: np.ndarray, actual: np.ndarray) -> float:
    """Power of `reference` over that of the difference, in decibels; infinite when equal."""
    noise = float(np.square(reference - actual, dtype=np.float64).sum())
    signal = float(np.square(reference, dtype=np.float64).sum())
    return 10 * float(np.log10(signal / noise)) if noise else float("inf")
