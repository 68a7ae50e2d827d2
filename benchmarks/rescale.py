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

import copy
from collections.abc import Iterable, Sequence

import numpy as np
import onnx

from stages.quantization.equalization import (
    Group,
    divide,
    find_groups,
    layer_constants,
    set_constants,
)


def profile(model: onnx.ModelProto, group: Group) -> np.ndarray:
    """The largest weight of every output channel, geometric mean over the layers that write it.

    Shape (channels,), over its median; a channel of zeros alone counts as the median.
    """
    largest, constants = [], layer_constants(model)
    for node in group.writers:
        weights = np.abs(constants[node.input[1]])
        by_channel = weights.reshape(len(weights), -1).max(axis=1)
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


def rescale(model: onnx.ModelProto, by: Iterable[np.ndarray]) -> onnx.ModelProto:
    """A copy of `model` with the channels of every group of tensors multiplied by its factors."""
    result = copy.deepcopy(model)
    weights = layer_constants(result)
    for group, factor in zip(find_groups(result), by, strict=True):
        divide(group, weights, 1 / factor)
    set_constants(result, weights)
    return result


def widened(model: onnx.ModelProto, wanted: Sequence[np.ndarray], power: float) -> onnx.ModelProto:
    """`model` with the profiles of another network's tensors, matched by relative depth."""
    groups = find_groups(model)
    matches = [wanted[round(index * (len(wanted) - 1) / max(len(groups) - 1, 1))]
               for index in range(len(groups))]
    return rescale(model, [factors(profile(model, group), match, power)
                           for group, match in zip(groups, matches, strict=True)])
