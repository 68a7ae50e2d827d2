"""A quantized variant by its recipe, from the float model to the file."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from stages.config.errors import UserError
from stages.config.schema import Model, Recipe
from stages.data.dataset import Dataset
from stages.quantization.dynamic import quantize_dynamically
from stages.quantization.learning import Learning
from stages.quantization.mixed import quantize_mixed
from stages.quantization.padded_input import with_padded_input
from stages.quantization.ranges import Range
from stages.quantization.recipe import calibration_positions, record_recipe
from stages.quantization.repeated_gates import with_repeated_gates
from stages.quantization.sensitivity import layers_of, nodes_of
from stages.quantization.static import Calibrated


@dataclass(frozen=True)
class Record:
    """How a variant came about.

    positions: of its calibration pictures; ranges: calibrated, by tensor.
    prepared_max_abs_diff: of a logit, from the float model to the graph that was quantized.
    search, rounding, qat: what each of these found, where the recipe has it.
    """

    positions: np.ndarray = field(default_factory=lambda: np.array([], dtype=np.int64))
    ranges: dict[str, Range] = field(default_factory=dict)
    prepared_max_abs_diff: float | None = None
    search: dict[str, Any] = field(default_factory=dict)
    rounding: dict[str, Any] = field(default_factory=dict)
    qat: dict[str, Any] = field(default_factory=dict)


def write_variant(source: Path, target: Path, recipe: Recipe, model: Model,
                  dataset: Dataset, tested_drop_pp: float) -> Record:
    """Write the float model at `source` as `recipe` says to `target`, which carries the recipe,
    unless it is the float model still: mixed may find no other.

    Args:
        tested_drop_pp: bound of the drop in accuracy at 95 % confidence, for method mixed.

    Raises:
        UserError: a model that can't be quantized, or pictures that tell nothing.
    """
    if recipe.method == "dynamic":
        quantize_dynamically(source, target, recipe)
        record, graph = Record(), onnx.load(target)
    else:
        record = _write_calibrated(source, target, recipe, model, dataset, tested_drop_pp)
        graph = with_padded_input(with_repeated_gates(onnx.load(target)))
    if any(node.op_type.endswith("QuantizeLinear") for node in graph.graph.node):
        record_recipe(graph, recipe, rounded=record.rounding.get("kept", False),
                      tuned=record.qat.get("kept", False))
    onnx.save(graph, target)
    return record


def _write_calibrated(source: Path, target: Path, recipe: Recipe, model: Model,
                      dataset: Dataset, tested_drop_pp: float) -> Record:
    """Methods static and mixed."""
    positions = calibration_positions(dataset.splits["calibration"], recipe)
    dataset = replace(dataset, splits={**dataset.splits, "calibration": positions})
    base = Calibrated.of(source, recipe, model, dataset.view("calibration"))
    learning = Learning.of(base, dataset) if recipe.adaptive_rounding or recipe.qat else None
    search, rounding, qat = {}, {}, {}
    if recipe.method == "mixed":
        search, rounding = quantize_mixed(base, target, dataset, tested_drop_pp,
                                          learning.round if recipe.adaptive_rounding else None)
    else:
        base.write(target, _first_nodes(base.model, recipe.first_in_float))
        if recipe.adaptive_rounding:
            rounding = learning.round(target)
        if recipe.qat:
            qat = learning.fine_tune(target)
    return Record(positions, base.ranges, base.max_abs_diff, search, rounding, qat)


def _first_nodes(model: onnx.ModelProto, count: int) -> list[str]:
    """Names of the nodes of the first `count` layers.

    Raises:
        UserError: there are no more, so that none would be left to quantize.
    """
    layers = layers_of(model) if count else []
    if count and count >= len(layers):
        raise UserError(f"first_in_float: got {count}, but the model has {len(layers)} layers, and "
                        "none would be quantized; lower it")
    return nodes_of(layers[:count])
