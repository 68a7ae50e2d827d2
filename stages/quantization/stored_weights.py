"""The integer weights of a QDQ graph, as ONNX Runtime's quantizer stores them."""

from dataclasses import dataclass

import numpy as np
import onnx

from stages.onnx_graph.attributes import attributes
from stages.onnx_graph.layers import arrays_of

SUFFIX = "_quantized"
DEFAULT_AXIS = 1


@dataclass(frozen=True)
class StoredWeight:
    """A constant that a DequantizeLinear reads.

    name: of the constant; output: what the DequantizeLinear gives.
    integers: as stored; scale, zero_point: float32, shaped to fit them.
    """

    name: str
    output: str
    integers: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray

    def values(self) -> np.ndarray:
        """What the integers stand for, float32."""
        return (self.integers.astype(np.float32) - self.zero_point) * self.scale


def stored_weights(quantized: onnx.ModelProto) -> dict[str, StoredWeight]:
    """The stored weights and biases by the name of what they were made of."""
    constants = arrays_of(quantized)
    found = {}
    for node in quantized.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            integers, scale = (constants[name] for name in node.input[:2])
            zero = constants[node.input[2]] if len(node.input) > 2 else np.zeros_like(scale)
            axis = attributes(node).get("axis", DEFAULT_AXIS)
            if scale.ndim:
                shape = [-1 if index == axis else 1 for index in range(integers.ndim)]
                scale, zero = scale.reshape(shape), zero.reshape(shape)
            found[node.input[0].removesuffix(SUFFIX)] = StoredWeight(
                node.input[0], node.output[0], integers, scale, zero.astype(np.float32))
    return found


def dequantized_weights(quantized: onnx.ModelProto) -> dict[str, np.ndarray]:
    """What the stored weights and biases stand for, float32, by the name of their origin."""
    return {name: weight.values() for name, weight in stored_weights(quantized).items()}
