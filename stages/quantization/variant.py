"""A quantized variant by its recipe, from the float model to the file."""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from stages.config.errors import UserError
from stages.config.schema import Model, Recipe
from stages.data.dataset import Dataset, PictureView
from stages.measurement.predictor import load_onnx, predict
from stages.measurement.saturation import EXACT_SUMS, cuts_off
from stages.quantization.adaptive_rounding import round_adaptively
from stages.quantization.dynamic import quantize_dynamically
from stages.quantization.improvement import held_out, keep_if_better
from stages.quantization.mixed import quantize_mixed
from stages.quantization.padded_input import with_padded_input
from stages.quantization.qat import fine_tune, random_batches
from stages.quantization.ranges import Range
from stages.quantization.recipe import calibration_positions, record_recipe
from stages.quantization.repeated_gates import with_repeated_gates
from stages.quantization.sensitivity import layers_of, nodes_of
from stages.quantization.static import Calibrated, feeds_of
from stages.quantization.torch_operators import not_tunable
from stages.training.process import keep_freed_memory

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """How a variant came about.

    positions: of its calibration pictures; ranges: calibrated, by tensor.
    search, rounding, qat: what each of these found, where the recipe has it.
    """

    positions: np.ndarray = field(default_factory=lambda: np.array([], dtype=np.int64))
    ranges: dict[str, Range] = field(default_factory=dict)
    search: dict[str, Any] = field(default_factory=dict)
    rounding: dict[str, Any] = field(default_factory=dict)
    qat: dict[str, Any] = field(default_factory=dict)


def write_variant(source: Path, target: Path, recipe: Recipe, model: Model,
                  dataset: Dataset, tested_drop_pp: float) -> Record:
    """Write the float model at `source` as `recipe` says to `target`, which carries the recipe.

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
    return Record(positions, base.ranges, search, rounding, qat)


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


@dataclass(frozen=True)
class Learning:
    """What quantized models learn from the float one, kept where it helps.

    On a CPU that cuts off sums of the recipe's weights they run in float meanwhile: what is
    learned is not to make up for this CPU, on which the model should not run anyhow.

    taught: calibration pictures to learn from; judges: those to judge by.
    reference: the float model's logits of the judges, (n, classes).
    """

    base: Calibrated
    dataset: Dataset
    taught: PictureView
    judges: PictureView
    reference: np.ndarray

    @property
    def session(self) -> dict[str, Any]:
        """Options of the sessions that quantized models run in, by name."""
        recipe = self.base.recipe
        return EXACT_SUMS if cuts_off(weight_type=recipe.weight_type,
                                      reduce_range=recipe.reduce_range) else {}

    @classmethod
    def of(cls, base: Calibrated, dataset: Dataset) -> "Learning":
        """From the calibration pictures of `dataset`."""
        keep_freed_memory()
        taught, judges = (PictureView(dataset.images, positions)
                          for positions in held_out(dataset.splits["calibration"]))
        return cls(base, dataset, taught, judges,
                   predict(load_onnx(base.source), judges, base.params))

    def round(self, target: Path) -> dict[str, Any]:
        """Round the weights of the model at `target` adaptively; what came of it."""
        graph = onnx.load(target)
        layers = round_adaptively(graph, self.base.model,
                                  lambda: feeds_of(self.taught, self.base.params),
                                  **self.session)
        # Method mixed may have left all in float.
        return {**self._keep_if_better(target, graph, "rounding"), "layers": layers} \
            if layers else {}

    def fine_tune(self, target: Path) -> dict[str, Any]:
        """Fine-tune the model at `target` by the recipe's `qat`; what came of it."""
        graph, recipe = onnx.load(target), self.base.recipe
        if unknown := not_tunable(graph):
            reason = f"operator {', '.join(unknown)} can't be fine-tuned"
            log.warning("qat: %s; the model stays as it was quantized", reason)
            return {"kept": False, "reason": reason}
        batches = random_batches(self.dataset.images, self.dataset.splits["train"], recipe.qat)
        losses = fine_tune(graph, self.base.model, load_onnx(self.base.source), batches,
                           recipe.qat, self.base.params, reduce_range=recipe.reduce_range)
        return {**self._keep_if_better(target, graph, "qat"),
                "first_loss": losses[0], "last_loss": losses[-1]}

    def _keep_if_better(self, target: Path, graph: onnx.ModelProto, what: str) -> dict[str, Any]:
        def logits(path: Path) -> np.ndarray:
            return predict(load_onnx(path, **self.session), self.judges, self.base.params)

        return keep_if_better(target, graph, what, logits, self.reference)
