"""Channels of a trained network made as unequal as those of another one, at equal float logits.

Where nothing but a convolution, an addition or a ReLU stands between two convolutions, channel c of
the tensors between them can be multiplied by s[c]: weights and biases that make it are multiplied,
weights that read it are divided. Tensors that an addition joins, those of a residual chain, share
one s. In an inverted-residual network these are the linear bottlenecks. SiLU, ReLU6 and the gates
of squeeze-excitation let no factor through, so what stands between expansion and projection, the
depthwise convolutions with it, can't be changed in this way.
Source: M. Nagel et al., Data-free quantization through weight equalization and bias correction,
2019, section 4.1, which makes channels equal by the same factors.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

PASSING = ("Add", "Relu")  # an addition and a ReLU of scaled tensors are the scaled result


@dataclass(frozen=True)
class Chain:
    """Tensors whose channels can be scaled, with the outputs of the convolutions around them.

    producers, consumers: convolutions that make, and that read, one of `tensors`.
    """

    tensors: tuple[str, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]


def chains_of(model: onnx.ModelProto) -> list[Chain]:
    """Every chain of `model`, a clean graph, from input to output."""
    constants = {tensor.name for tensor in model.graph.initializer}
    outside = {value.name for value in (*model.graph.input, *model.graph.output)}
    joined: dict[str, str] = {}

    def root(name: str) -> str:
        while joined.setdefault(name, name) != name:
            name = joined[name]
        return name

    for node in model.graph.node:
        if node.op_type in PASSING:
            for name in node.input:
                joined[root(name)] = root(node.output[0])
    fixed = {root(name) for name in constants | outside}
    producers: dict[str, list[str]] = {}
    consumers: dict[str, list[str]] = {}
    tensors: dict[str, list[str]] = {}
    for node in model.graph.node:
        tensors.setdefault(root(node.output[0]), []).append(node.output[0])
        if node.op_type in PASSING:
            continue
        if node.op_type == "Conv" and set(node.input[1:]) <= constants:
            producers.setdefault(root(node.output[0]), []).append(node.output[0])
        else:
            fixed.add(root(node.output[0]))
        if node.op_type == "Conv" and _reads_by_channel(model, node):
            consumers.setdefault(root(node.input[0]), []).append(node.output[0])
        else:
            fixed.update(root(name) for name in node.input)
    return [Chain(tuple(tensors[key]), tuple(producers[key]), tuple(consumers[key]))
            for key in producers if key in consumers and key not in fixed]


def profile(model: onnx.ModelProto, chain: Chain) -> np.ndarray:
    """The largest weight of every output channel, geometric mean over the chain's producers.

    Shape (channels,), over its median; a channel of zeros alone counts as the median.
    """
    largest = []
    for node in _nodes(model, chain.producers):
        weights = np.abs(_constant(model, node.input[1]))
        by_channel = weights.reshape(len(weights), -1).max(axis=1).astype(np.float64)
        largest.append(np.log(np.where(by_channel > 0, by_channel, np.median(by_channel))))
    mean = np.exp(np.mean(largest, axis=0))
    return mean / np.median(mean)


def factors(own: np.ndarray, wanted: np.ndarray, power: float) -> np.ndarray:
    """Factors by which `own` takes on the distribution of `wanted`, both as `profile` gives them.

    Channels keep their order: the narrowest stays the narrowest. Counts may differ.

    Args:
        power: of the wanted profile; 2 squares the ratio of any two of its channels.
    """
    rank = np.argsort(np.argsort(own, kind="stable"))
    quantiles = np.quantile(np.log(wanted), (rank + 0.5) / len(own))
    return np.exp(power * quantiles) / own


def rescale(model: onnx.ModelProto, chains: Sequence[Chain], by: Iterable[np.ndarray]
            ) -> onnx.ModelProto:
    """A copy of `model` with the channels of every chain multiplied by its factors."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for chain, factor in zip(chains, by, strict=True):
        for node in _nodes(result, chain.producers):
            for index in range(1, len(node.input)):
                values = _constant(result, node.input[index])
                _set(result, node, index, values * _along(factor, 0, values.ndim))
        for node in _nodes(result, chain.consumers):
            values = _constant(result, node.input[1])
            axis = 0 if _group(node) > 1 else 1
            _set(result, node, 1, values / _along(factor, axis, values.ndim))
    used = {name for node in result.graph.node for name in node.input}
    for tensor in [each for each in result.graph.initializer if each.name not in used]:
        result.graph.initializer.remove(tensor)
    return result


def widened(model: onnx.ModelProto, wanted: Sequence[np.ndarray], power: float) -> onnx.ModelProto:
    """`model` with the profiles of another network's chains, matched by relative depth."""
    chains = chains_of(model)
    matches = [wanted[round(index * (len(wanted) - 1) / max(len(chains) - 1, 1))]
               for index in range(len(chains))]
    return rescale(model, chains, [factors(profile(model, chain), match, power)
                                   for chain, match in zip(chains, matches, strict=True)])


def _group(node: onnx.NodeProto) -> int:
    return next((entry.i for entry in node.attribute if entry.name == "group"), 1)


def _reads_by_channel(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    """Whether an input channel has weights of its own: in plain and depthwise convolutions."""
    tensor = next((each for each in model.graph.initializer if each.name == node.input[1]), None)
    return tensor is not None and (_group(node) == 1 or
                                   (_group(node) == tensor.dims[0] and tensor.dims[1] == 1))


def _nodes(model: onnx.ModelProto, outputs: Sequence[str]) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.output[0] in outputs]


def _constant(model: onnx.ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(tensor for tensor in model.graph.initializer
                                      if tensor.name == name))


def _along(factor: np.ndarray, axis: int, rank: int) -> np.ndarray:
    return factor.reshape([-1 if index == axis else 1 for index in range(rank)])


def _set(model: onnx.ModelProto, node: onnx.NodeProto, index: int, values: np.ndarray) -> None:
    """Give `node` a constant of its own: exporters let layers share equal ones."""
    name = f"{node.output[0]}_{('weight', 'bias')[index - 1]}"
    kept = [tensor for tensor in model.graph.initializer if tensor.name != name]
    kept.append(numpy_helper.from_array(values.astype(np.float32), name))
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    node.input[index] = name
