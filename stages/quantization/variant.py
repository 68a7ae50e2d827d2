"""A quantized variant by its recipe, from the float model to the file."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from stages.config.schema import Model, QuantizedVariant
from stages.data.dataset import Dataset, PictureView
from stages.measurement.predictor import load_onnx, predict
from stages.quantization.adaptive_rounding import round_adaptively
from stages.quantization.dynamic import quantize_dynamically
from stages.quantization.improvement import held_out, keep_if_better
from stages.quantization.mixed import quantize_mixed
from stages.quantization.padded_input import with_padded_input
from stages.quantization.qat import fine_tune, random_batches
from stages.quantization.ranges import Range
from stages.quantization.recipe import calibration_positions
from stages.quantization.repeated_gates import with_repeated_gates
from stages.quantization.sensitivity import layers_of, nodes_of
from stages.quantization.static import Calibrated, feeds_of
from stages.quantization.torch_operators import not_tunable
from stages.training.process import keep_freed_memory

log = logging.getLogger(__name__)


@dataclass
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

    @property
    def rounded(self) -> bool:
        """Whether adaptive rounding was kept."""
        return self.rounding.get("kept", False)

    @property
    def tuned(self) -> bool:
        """Whether fine-tuning was kept."""
        return self.qat.get("kept", False)


def write_variant(source: Path, target: Path, recipe: QuantizedVariant, model: Model,
                  load: Callable[[], Dataset], tested_drop_pp: float) -> Record:
    """Write the float model at `source` as `recipe` says to `target`.

    Args:
        load: opens the pictures, which dynamic quantization can do without.
        tested_drop_pp: bound of the drop in accuracy at 95 % confidence, for method mixed.

    Raises:
        UserError: a model that can't be quantized, or pictures that tell nothing.
    """
    if recipe.method == "dynamic":
        quantize_dynamically(source, target, recipe)
        return Record()
    dataset = load()
    positions = calibration_positions(dataset.splits["calibration"], recipe)
    dataset = replace(dataset, splits={**dataset.splits, "calibration": positions})
    base = Calibrated.of(source, recipe, model, dataset.view("calibration"))
    record = Record(positions, base.ranges)

    def learn(path: Path) -> None:
        record.rounding = {}  # of this model, if there was one before
        if recipe.adaptive_rounding or recipe.qat:
            keep_freed_memory()
            _learn(base, path, dataset, record)

    if recipe.method == "mixed":
        record.search = quantize_mixed(base, target, dataset, tested_drop_pp, learn)
        if "rounding_taken_back" in record.search:
            record.rounding["kept"] = False
    else:
        base.write(target, nodes_of(layers_of(base.model)[:recipe.first_in_float]))
        learn(target)
    onnx.save(with_padded_input(with_repeated_gates(onnx.load(target))), target)
    return record


def _learn(base: Calibrated, target: Path, dataset: Dataset, record: Record) -> None:
    """Adaptive rounding and fine-tuning of the model at `target`, each where it helps."""
    recipe = base.recipe
    taught, judges = held_out(record.positions)
    sample = PictureView(dataset.images, judges)

    def logits(path: Path) -> np.ndarray:
        return predict(load_onnx(path), sample, base.params)

    reference = logits(base.source)
    if recipe.adaptive_rounding:
        graph = onnx.load(target)

        def feeds() -> Iterator[dict[str, np.ndarray]]:
            return feeds_of(PictureView(dataset.images, taught), base.params)

        layers = round_adaptively(graph, base.model, feeds)
        if layers:  # method mixed may have left all in float
            record.rounding = {**keep_if_better(target, graph, "rounding", logits, reference),
                               "layers": layers}
    if recipe.qat:
        graph = onnx.load(target)
        if unknown := not_tunable(graph):
            reason = f"operator {', '.join(unknown)} can't be fine-tuned"
            log.warning("qat: %s; the model stays as it was quantized", reason)
            record.qat = {"kept": False, "reason": reason}
            return
        batches = random_batches(dataset.images, dataset.splits["train"], recipe.qat)
        losses = fine_tune(graph, base.model, load_onnx(base.source), batches, recipe.qat,
                           base.params, reduce_range=recipe.reduce_range)
        record.qat = {**keep_if_better(target, graph, "qat", logits, reference),
                      "first_loss": losses[0], "last_loss": losses[-1]}
