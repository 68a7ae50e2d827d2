"""Weights rounded up or down, whichever brings a layer's output nearer to the float model's.

Rounding to the nearest step is best for each weight by itself, not for their sum. Layer by layer,
from input to output, a layer is fed what the quantized layers before it make of calibration
pictures, and is to give what the float layer gives, in the least squares: one weight of every
output channel after the other takes the better of its two whole steps, until none changes. The
graph and its steps stay; a weight differs from the nearest step by one at most.
Sources: M. Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization, 2020 (the
task; its relaxation needs thousands of steps of Adam for each layer); K. Behdin et al., QuantEase,
2023 (descent by coordinates).
"""

import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from stages.onnx_graph.layers import arrays_of
from stages.quantization.layer_rows import (
    FeedSource,
    MatrixLayer,
    layers_to_round,
    rows_of_input,
    rows_of_outputs,
)
from stages.quantization.stored_weights import StoredWeight, stored_weights

log = logging.getLogger(__name__)

HELD_OUT = 4  # each so many-th row judges what the others taught
SWEEPS = 10   # over all weights of a layer, at most
PRODUCTS = 2**38  # of one sweep, at most: some minutes of a core


@dataclass(frozen=True)
class Problem:
    """A layer as products of matrices, one for each group of its channels, float32.

    inputs: (groups, rows, inputs), from the quantized layers before it.
    targets: (groups, rows, outputs), of the float layer without its bias, in steps of the weights.
    weights: (groups, outputs, inputs), in steps but not rounded yet.
    least, most: (groups, outputs, inputs) or of ones, what a whole weight may be.
    """

    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    least: np.ndarray
    most: np.ndarray

    def nearest(self) -> np.ndarray:
        """The weights rounded to the nearest step."""
        return np.clip(np.rint(self.weights), self.least, self.most)

    def error(self, weights: np.ndarray, rows: slice | np.ndarray) -> np.ndarray:
        """Mean squared error of each output, (groups, outputs)."""
        outputs = self.inputs[:, rows] @ weights.swapaxes(1, 2)
        return np.square(outputs - self.targets[:, rows]).mean(axis=1)


def round_adaptively(quantized: onnx.ModelProto, source: onnx.ModelProto, feeds: FeedSource,
                     **more: Any) -> list[dict[str, Any]]:
    """Choose the rounding of the weights of the QDQ graph `quantized`, in place.

    Args:
        source: the float graph that was quantized.
        feeds: gives the calibration pictures; called once for each layer and twice more.
        more: options of the sessions that the quantized layers run in, by name.

    Returns:
        For each quantized layer its error on held-out rows over that of rounding to the nearest,
        and the share of its weights that go the other way.
    """
    layers, stored, floats = [], stored_weights(quantized), arrays_of(source)
    for layer in layers_to_round(source, set(stored)):
        if layer.shape[0] * math.prod(layer.shape[1:])**2 <= PRODUCTS:
            layers.append(layer)
        else:
            log.info("rounding: %s, weights of %s, is too large; they stay rounded to the nearest",
                     layer.name, " by ".join(map(str, layer.shape)))
    if not layers:
        return []
    pictures = sum(len(batch) for feed in feeds() for batch in feed.values())
    outputs = rows_of_outputs(source, layers, feeds, pictures)
    record = []
    for layer in layers:
        weight = stored[layer.name]
        node = _reader(quantized, weight)
        inputs = rows_of_input(quantized, layer, node.input[0], feeds, pictures, **more)
        problem = make_problem(layer, weight, floats[layer.name], inputs,
                               outputs.pop(layer.number) - bias_of(node, quantized, stored))
        chosen, ratio = choose(problem)
        changed = float(np.mean(chosen != problem.nearest()))
        _store(quantized, layer, weight, chosen)
        record.append({"layer": layer.name, "error_ratio": ratio, "weights_changed": changed})
        log.debug("rounding: layer %d of %d: %.2f times the error of rounding to the nearest, "
                  "%.1f %% of weights go the other way", len(record), len(layers), ratio,
                  100 * changed)
    return record


def choose(problem: Problem) -> tuple[np.ndarray, float]:
    """The weights of `problem` in whole steps, and their error.

    Each output channel keeps the nearest steps where they are better on held-out rows. The error
    is on these rows, over that of rounding all to the nearest; 1 where that has none.
    """
    judges = np.arange(problem.inputs.shape[1]) % HELD_OUT == 0
    nearest = problem.nearest()
    chosen = descend(problem, nearest, ~judges)
    before, after = (problem.error(each, judges) for each in (nearest, chosen))
    better = after < before
    total = float(before.sum(dtype=np.float64))
    ratio = float(np.where(better, after, before).sum(dtype=np.float64)) / total if total else 1.0
    return np.where(better[:, :, None], chosen, nearest), ratio


def descend(problem: Problem, start: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """From the weights `start`, take for each in turn the step that lowers the error on `rows`."""
    inputs = problem.inputs[:, rows]
    moments = inputs.swapaxes(1, 2) @ inputs                    # (groups, inputs, inputs)
    wanted = problem.targets[:, rows].swapaxes(1, 2) @ inputs   # (groups, outputs, inputs)
    low = np.clip(np.floor(problem.weights), problem.least, problem.most)
    high = np.clip(low + 1, problem.least, problem.most)
    weights = start.copy()
    for _ in range(SWEEPS):
        before = weights.copy()
        for index in range(weights.shape[2]):
            column = moments[:, :, index, None]
            power = column[:, index]                            # (groups, 1)
            slope = (weights @ column)[:, :, 0] - wanted[:, :, index]
            best = weights[:, :, index] - slope / np.where(power > 0, power, 1)
            nearer = np.abs(best - low[:, :, index]) <= np.abs(best - high[:, :, index])
            weights[:, :, index] = np.where(
                power > 0, np.where(nearer, low[:, :, index], high[:, :, index]),
                weights[:, :, index])
        if np.array_equal(weights, before):
            break
    return weights


def make_problem(layer: MatrixLayer, weight: StoredWeight, floats: np.ndarray,
                 inputs: np.ndarray, outputs: np.ndarray) -> Problem:
    """What is to be chosen for `layer`, whose `weight` was made of `floats`.

    Args:
        inputs: (rows, inputs, ...) of the quantized layer.
        outputs: (rows, outputs) of the float one without its bias, before its activation function.
    """
    groups = layer.groups

    def by_group(values: np.ndarray) -> np.ndarray:
        """(groups, outputs, inputs) of the weights, or of what fits them."""
        whole = layer.outputs_first(values).astype(np.float32)
        return whole.reshape(groups, layer.shape[0] // groups, -1)

    def rows_by_group(values: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(values.reshape(len(values), groups, -1).swapaxes(0, 1))

    step = by_group(weight.scale)[:, None, :, 0]
    return Problem(
        inputs=rows_by_group(inputs), targets=rows_by_group(outputs) / step,
        weights=by_group(floats.astype(np.float64) / weight.scale),
        least=by_group(weight.integers.min() - weight.zero_point),
        most=by_group(weight.integers.max() - weight.zero_point))


def bias_of(node: onnx.NodeProto, quantized: onnx.ModelProto, stored: dict[str, StoredWeight]
            ) -> np.ndarray | np.float32:
    """The bias of the layer `node` of a QDQ graph, float32 (outputs,); 0 where it has none."""
    if len(node.input) < 3 or not node.input[2]:  # an input that is left out may have no name
        return np.float32(0)
    rounded = {weight.output: weight for weight in stored.values()}.get(node.input[2])
    return rounded.values() if rounded else arrays_of(quantized)[node.input[2]]


def _reader(quantized: onnx.ModelProto, weight: StoredWeight) -> onnx.NodeProto:
    """The layer of a QDQ graph that reads `weight`."""
    return next(node for node in quantized.graph.node if weight.output in node.input)


def _store(quantized: onnx.ModelProto, layer: MatrixLayer, old: StoredWeight, steps: np.ndarray
           ) -> None:
    """Put whole `steps` where the weight of `layer` is stored, in its type and shape."""
    tensor = next(each for each in quantized.graph.initializer if each.name == old.name)
    integers = layer.as_stored(steps.reshape(layer.shape)) + old.zero_point
    tensor.CopyFrom(numpy_helper.from_array(integers.astype(old.integers.dtype), tensor.name))
