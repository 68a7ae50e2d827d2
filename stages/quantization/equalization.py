"""Channels of a tensor brought to like ranges, so that one quantization step suits them all.

A tensor is quantized with one step, which its widest channel sets; narrow channels get few of the
levels. Where nothing but convolutions and fully connected layers write a tensor and read it, a
channel can be divided by a factor as it is written and multiplied by it as it is read: the float
function stays the same but for rounding of float32. In a network with ReLU6 these are the outputs
of the linear bottlenecks; their residual chains share one factor a channel. A Clip is no such
place: its bound is one number for all channels.
Sources: M. Nagel et al., Data-free quantization through weight equalization and bias correction,
2019, section 4.1; G. Xiao et al., SmoothQuant, 2022, section 4 (sharing the difficulty between
activations and weights by a power, here chosen for each tensor).
"""

import copy
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from stages.onnx_graph.attributes import attributes
from stages.onnx_graph.layers import BY_OUTPUT, arrays_of
from stages.onnx_graph.probe import open_probed
from stages.onnx_graph.readers import reads
from stages.quantization.ranges import ACTIVATION_LEVELS

# f(factor * x) = factor * f(x), channel by channel, for a factor above zero.
PROPORTIONAL = {"Add", "Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool"}
# What keeps the channels of a global pool's output, where they are.
FLATTENING = {"Flatten", "Reshape"}
# Shares of the spread that go to the weights: 0 evens out the weights, 1 the activations.
POWERS = np.linspace(0, 1, 11)
DEAD = 1e-6  # of the widest channel: what is below takes no factor


@dataclass
class Group:
    """Tensors that take one factor a channel.

    writers, readers: the layers that put them out, and that take them in.
    quantized: the tensors, but for what a Relu makes another one of before it is quantized.
    """

    writers: list[onnx.NodeProto] = field(default_factory=list)
    readers: list[onnx.NodeProto] = field(default_factory=list)
    quantized: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Channels:
    """What the channels of a tensor hold over all pictures, each shape (channels,)."""

    lowest: np.ndarray
    highest: np.ndarray
    power: np.ndarray


def with_equalized_channels(model: onnx.ModelProto, feeds: Iterable[dict[str, np.ndarray]], *,
                            per_channel: bool, largest_weight: int) -> onnx.ModelProto:
    """A copy of the float `model` with the same function and channels that are easier to quantize.

    Each group of tensors takes the factors with the least noise predicted, or none.

    Args:
        feeds: batches by the name of the model's input; one is held at a time.
        per_channel: whether weights are going to be quantized by output channel.
        largest_weight: that they are going to be quantized to, in steps.
    """
    result = copy.deepcopy(model)
    groups = find_groups(result)
    if not groups:
        return result
    weights = layer_constants(result)
    seen = channel_statistics(result, [name for group in groups for name in group.quantized],
                              feeds)
    for group in groups:
        if len({seen[name].power.shape for name in group.quantized}) > 1:
            continue  # an Add that spreads one channel over several
        divide(group, weights, best_factors(group, weights, seen, per_channel=per_channel,
                                            largest_weight=largest_weight))
    set_constants(result, weights)
    return result


def find_groups(model: onnx.ModelProto) -> list[Group]:
    """The groups of `model` whose channels can be scaled, in the order of the graph."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in reads(node))
    root: dict[str, str] = {}
    fixed = {value.name for value in (*graph.input, *graph.output)}
    pooled = set()

    def find(name: str) -> str:
        while root.setdefault(name, name) != name:
            name = root[name]
        return name

    layers = []
    for node in graph.node:
        if node.op_type in PROPORTIONAL or (node.op_type in FLATTENING
                                            and node.input[0] in pooled):
            names = [node.input[0]] if node.op_type in FLATTENING else node.input
            for name in names:
                root[find(name)] = find(node.output[0])
            fixed |= constants.intersection(names)
            if node.op_type == "GlobalAveragePool":
                pooled.add(node.output[0])
        elif _is_layer(node, constants, uses):
            layers.append(node)
        else:
            fixed |= {*reads(node), *node.output}
    blocked, groups = {find(name) for name in fixed}, {}
    for node in layers:
        groups.setdefault(find(node.output[0]), Group()).writers.append(node)
        groups.setdefault(find(node.input[0]), Group()).readers.append(node)
    before_relu = {node.input[0] for node in graph.node
                   if node.op_type == "Relu" and uses[node.input[0]] == 1}
    for name in root:
        if find(name) in groups and name not in before_relu:
            groups[find(name)].quantized.append(name)
    return [group for key, group in groups.items()
            if key not in blocked and group.writers and group.readers]


def _is_layer(node: onnx.NodeProto, constants: set[str], uses: Counter) -> bool:
    """Whether the channels of a node's input and output are those of a constant of its own."""
    if node.op_type not in BY_OUTPUT or not constants.issuperset(node.input[1:]):
        return False
    if uses[node.input[1]] > 1:
        return False
    found = attributes(node)
    return node.op_type == "Conv" or (not found.get("transA") and found.get("transB") == 1)


def layer_constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Constants of the convolutions and fully connected layers by name, float64."""
    names = {name for node in model.graph.node if node.op_type in BY_OUTPUT
             for name in node.input[1:]}
    return {name: array.astype(np.float64) for name, array in arrays_of(model).items()
            if name in names}


def divide(group: Group, weights: dict[str, np.ndarray], factors: np.ndarray) -> None:
    """Divide the tensors of `group` by the factor of each channel, in `layer_constants` alone.

    What its layers take in is multiplied again, so that the model's function stays the same.
    """
    for node in group.writers:
        _scale_outputs(node, weights, 1 / factors)
    for node in group.readers:
        weights[node.input[1]] = by_input(node, weights[node.input[1]], factors)


def set_constants(model: onnx.ModelProto, weights: dict[str, np.ndarray]) -> None:
    """Put `weights` in the place of the model's constants of these names; drop unused ones."""
    used = {name for node in model.graph.node for name in reads(node)}
    constants = [tensor for tensor in model.graph.initializer
                 if tensor.name in used and tensor.name not in weights]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*constants, *(
        numpy_helper.from_array(array.astype(np.float32), name)
        for name, array in weights.items() if name in used)])


def channel_statistics(model: onnx.ModelProto, names: list[str],
                       feeds: Iterable[dict[str, np.ndarray]]) -> dict[str, Channels]:
    """Extremes and mean square of each channel, axis 1, of the tensors `names`."""
    session = open_probed(model, names)
    found: dict[str, tuple[np.ndarray, ...]] = {}
    for feed in feeds:
        for name, values in zip(names, session.run(names, feed), strict=True):
            axes = tuple(axis for axis in range(values.ndim) if axis != 1)
            now = (values.min(axis=axes), values.max(axis=axes),
                   np.square(values, dtype=np.float64).sum(axis=axes),
                   values.size // values.shape[1])
            old = found.get(name, (*now[:2], 0.0, 0))
            found[name] = (np.minimum(old[0], now[0]), np.maximum(old[1], now[1]),
                           old[2] + now[2], old[3] + now[3])
    return {name: Channels(lowest.astype(np.float64), highest.astype(np.float64), power / count)
            for name, (lowest, highest, power, count) in found.items()}


def best_factors(group: Group, weights: dict[str, np.ndarray], seen: dict[str, Channels], *,
                 per_channel: bool, largest_weight: int) -> np.ndarray:
    """Factor of each channel, float64, by which it is divided as it is written.

    The spread of the channels is shared between activations and weights by the power out of
    POWERS that has the least predicted noise; all ones where none is better.
    """
    reach = np.max([np.maximum(-seen[name].lowest, seen[name].highest)
                    for name in group.quantized], axis=0)
    widest = np.max([largest_by_input(node, weights[node.input[1]], len(reach))
                     for node in group.readers], axis=0)
    alive = (reach > DEAD * reach.max()) & (widest > DEAD * widest.max())
    candidates = [np.ones_like(reach)]
    for power in POWERS:
        factors = np.ones_like(reach)
        factors[alive] = reach[alive] ** power / widest[alive] ** (1 - power)
        factors[alive] /= factors[alive].max(initial=0)
        candidates.append(factors)
    noise = [predicted_noise(group, weights, seen, factors, per_channel=per_channel,
                             largest_weight=largest_weight) for factors in candidates]
    return candidates[int(np.argmin(noise))]


def predicted_noise(group: Group, weights: dict[str, np.ndarray], seen: dict[str, Channels],
                    factors: np.ndarray, *, per_channel: bool, largest_weight: int) -> float:
    """Noise power that rounding the group's tensors and its readers' weights gives the readers.

    Rounding to steps is taken for noise of step**2 / 12, independent of what is rounded.
    """
    gain = np.zeros_like(factors)
    noise = 0.0
    power = np.mean([seen[name].power for name in group.quantized], axis=0) / factors**2
    for node in group.readers:
        old = weights[node.input[1]]
        gain += sum_by_input(node, np.square(old), len(factors))
        rows = by_input(node, old, factors).reshape(len(old), -1)
        step = np.abs(rows).max(axis=1 if per_channel else None) / largest_weight
        inputs = by_input(node, np.ones_like(old), power).reshape(len(old), -1).sum(axis=1)
        noise += float(np.sum(step**2 / 12 * inputs))
    for name in group.quantized:
        highest = max(float((seen[name].highest / factors).max()), 0.0)
        lowest = min(float((seen[name].lowest / factors).min()), 0.0)
        noise += ((highest - lowest) / (ACTIVATION_LEVELS - 1)) ** 2 / 12 * float(gain @ factors**2)
    return noise


def _input_channels(node: onnx.NodeProto, weight: np.ndarray) -> np.ndarray:
    """Which input channel each (output, input) pair of a weight reads; it has 1 by group."""
    groups = attributes(node).get("group", 1) if node.op_type == "Conv" else 1
    outputs, inputs = weight.shape[:2]
    return (np.arange(outputs)[:, None] // (outputs // groups) * inputs + np.arange(inputs))


def by_input(node: onnx.NodeProto, weight: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """`weight`, shape (outputs, inputs of a group, ...), times the factor of each input channel."""
    picked = factors[_input_channels(node, weight)]
    return weight * picked.reshape(*picked.shape, *[1] * (weight.ndim - 2))


def sum_by_input(node: onnx.NodeProto, values: np.ndarray, channels: int) -> np.ndarray:
    """Sums of `values`, shaped like the weight of `node`, by input channel."""
    return np.bincount(_input_channels(node, values).ravel(),
                       values.reshape(*values.shape[:2], -1).sum(axis=2).ravel(), channels)


def largest_by_input(node: onnx.NodeProto, weight: np.ndarray, channels: int) -> np.ndarray:
    """The largest absolute weight by input channel."""
    largest = np.zeros(channels)
    np.maximum.at(largest, _input_channels(node, weight).ravel(),
                  np.abs(weight).reshape(*weight.shape[:2], -1).max(axis=2).ravel())
    return largest


def _scale_outputs(node: onnx.NodeProto, weights: dict[str, np.ndarray], factors: np.ndarray
                   ) -> None:
    """Multiply what a layer puts out by channel, through its weight and bias."""
    weight = weights[node.input[1]]
    weights[node.input[1]] = weight * factors.reshape(-1, *[1] * (weight.ndim - 1))
    if len(node.input) > 2:
        # A bias of its own: exporters let layers share equal ones.
        name = f"{node.output[0]}_equalized_bias"
        weights[name] = weights[node.input[2]] * factors
        node.input[2] = name
