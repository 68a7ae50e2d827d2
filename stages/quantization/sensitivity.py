"""Sensitivity by layer: what the logits lose when one layer alone is quantized.

A layer is a weighted node with all that follows it up to the next one: its activation function,
additions, pools. It is kept in float, or quantized, as a whole.
Source of measuring one layer at a time: H. Wu et al., Integer quantization for deep learning
inference, 2020, section 4 (partial quantization).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import onnx

from stages.measurement.noise import relative_noise
from stages.onnx_graph.cost import multiply_accumulates
from stages.onnx_graph.layers import COUNTED

# Writes a model to a path in which the named nodes stay float.
Quantize = Callable[[Path, Sequence[str]], None]
Logits = Callable[[Path], np.ndarray]


@dataclass(frozen=True)
class Layer:
    """A layer of the float graph.

    weights: their names, one but for a group; nodes: their names; macs: multiply-accumulates a
    picture.
    """

    weights: tuple[str, ...]
    nodes: tuple[str, ...]
    macs: int


def layers_of(model: onnx.ModelProto) -> list[Layer]:
    """The layers of `model` from input to output; nodes before the first belong to it.

    Nodes that share a weight are one layer: rounded for the one, it is rounded for all.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    macs = multiply_accumulates(model)
    nodes: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    waiting, layer = [], ""
    for node in model.graph.node:
        if node.op_type in COUNTED and node.input[1] in weights:
            layer = node.input[1]
            counts[layer] += macs[node.output[0]]
            nodes.setdefault(layer, []).extend(waiting)
            waiting = []
        (nodes[layer] if layer else waiting).append(node.name)
    return [Layer((name,), tuple(members), counts[name]) for name, members in nodes.items()]


def in_groups(layers: Sequence[Layer], size: int) -> list[Layer]:
    """Every `size` layers in a row as one, so that a deep model takes less time to judge; the last
    may be smaller.
    """
    groups = [layers[start:start + size] for start in range(0, len(layers), size)]
    return [Layer(weight_names(group), tuple(nodes_of(group)), sum(layer.macs for layer in group))
            for group in groups]


def weight_names(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Names of the weights of `layers`."""
    return tuple(chain.from_iterable(layer.weights for layer in layers))


def nodes_of(layers: Sequence[Layer]) -> list[str]:
    """Names of all nodes of `layers`."""
    return list(chain.from_iterable(layer.nodes for layer in layers))


def quantize_only(layer: Layer, layers: Sequence[Layer], quantize: Quantize, target: Path) -> None:
    """Write to `target` the model in which no layer but `layer` is quantized."""
    quantize(target, nodes_of([other for other in layers if other != layer]))


def noise_by_layer(layers: Sequence[Layer], quantize: Quantize, logits: Logits,
                   reference: np.ndarray, target: Path) -> list[float]:
    """Noise of the logits, a ratio of powers, when each of `layers` alone is quantized.

    Args:
        logits: what the model at a path says of some pictures, float32 (n, classes).
        reference: what the float model says of them.
        target: where the models are written, one after the other.
    """
    found = []
    for layer in layers:
        quantize_only(layer, layers, quantize, target)
        found.append(relative_noise(reference, logits(target)))
    return found
