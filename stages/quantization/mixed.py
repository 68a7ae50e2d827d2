"""Mixed precision: INT8, but for the layers that cost more accuracy than is allowed.

Layers are kept in float in the order of the noise that quantizing each alone adds to the logits,
over its multiplications and additions. That cost is the same on every machine, and so is the
choice, which measured time would make a matter of luck; measured times by node stand in
plots/node_time.csv. In a deep model several layers in a row may be judged as one
(layers_per_group). The fewest layers of that order are kept with which the drop in accuracy on
validation pictures is within the bound, found by doubling and then halving the number.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from stages.config.schema import Model, QuantizedVariant
from stages.data.dataset import Dataset, PictureView, evenly
from stages.measurement.accuracy import compare
from stages.measurement.predictor import load_predictor, predict
from stages.quantization.ranges import Range
from stages.quantization.sensitivity import (
    Layer,
    Logits,
    Quantize,
    in_groups,
    layers_of,
    nodes_of,
    noise_by_layer,
    quantize_only,
    to_db,
)
from stages.quantization.static import calibrated_model, feeds_of, quantize_to_ranges

log = logging.getLogger(__name__)

# Pictures that accuracy, and that noise, are measured on.
VALIDATION_PICTURES, NOISE_PICTURES = 1000, 64
# Layers, the noisiest first, of which the drop in accuracy is measured one by one.
SHORTLIST = 5


@dataclass(frozen=True)
class Accuracy:
    """Drop in accuracy against the float model, on validation pictures.

    labels, reference: int (n,), the true classes and those that the float model sees.
    classes: those that the model at a path sees.
    """

    labels: np.ndarray
    reference: np.ndarray
    classes: Callable[[Path], np.ndarray]

    def drop_pp(self, path: Path) -> float:
        """Of the model at `path`, in percentage points; negative for a gain."""
        return compare(self.labels, self.reference, self.classes(path)).drop_pp


def fewest(count: int, enough: Callable[[int], bool]) -> int:
    """The least number from 0 to `count` that is enough; `count` is, and is not asked about.

    Where `enough` is not monotonic it is a number that is enough, next to one that is not.
    """
    if enough(0):
        return 0
    low, high = 0, 1
    while high < count and not enough(high):
        low, high = high, 2 * high
    high = min(high, count)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def search(layers: Sequence[Layer], quantize: Quantize, logits: Logits, reference: np.ndarray,
           accuracy: Accuracy, bound_pp: float, folder: Path) -> tuple[list[Layer], dict[str, Any]]:
    """Which of `layers` to keep in float so that the drop is at most `bound_pp`, and the record.

    Args:
        quantize: writes a model in which the named nodes stay float.
        logits, reference: what the model at a path, and the float model, say of some pictures.
        folder: for the models that are tried.
    """
    trial = folder / "trial.onnx"
    noise = noise_by_layer(layers, quantize, logits, reference, trial)
    alone = {}
    for index in sorted(range(len(layers)), key=lambda index: -noise[index])[:SHORTLIST]:
        quantize_only(layers[index], layers, quantize, trial)
        alone[index] = accuracy.drop_pp(trial)
    order = sorted(range(len(layers)), key=lambda index: -noise[index] / max(layers[index].macs, 1))
    steps = []

    def enough(count: int) -> bool:
        quantize(trial, nodes_of([layers[index] for index in order[:count]]))
        drop = accuracy.drop_pp(trial)
        steps.append({"layers_in_float": count, "drop_pp": drop})
        log.info("%d of %d layers in float: drop %.2f points", count, len(layers), drop)
        return drop <= bound_pp

    kept = order[:fewest(len(layers), enough)]
    macs = sum(layer.macs for layer in layers)
    reason = (f"all quantized, the drop on validation is within {bound_pp} points" if not kept else
              f"the fewest with which the drop on validation is within {bound_pp} points")
    return [layers[index] for index in kept], {
        "max_drop_pp": bound_pp, "validation_images": len(accuracy.labels),
        "float_accuracy": float(np.mean(accuracy.labels == accuracy.reference)),
        "kept_in_float": [layers[index].name for index in kept], "reason": reason,
        "macs_in_float": sum(layers[index].macs for index in kept) / max(macs, 1),
        "steps": steps,
        "sensitivity": [{"layer": layer.name, "macs": layer.macs,
                         "logits_snr_db": to_db(noise[index]), "drop_pp": alone.get(index)}
                        for index, layer in enumerate(layers)]}


def quantize_mixed(source: Path, target: Path, recipe: QuantizedVariant, model: Model,
                   dataset: Dataset, input_name: str) -> tuple[dict[str, Range], dict[str, Any]]:
    """Write `source`, quantized but for the layers that the search keeps in float, to `target`.

    Returns:
        The calibrated range of every tensor, and the record of the search.

    Raises:
        UserError: a model that can't be quantized, or pictures that tell nothing.
    """
    calibration = dataset.view("calibration")
    prepared, ranges = calibrated_model(source, recipe, model, calibration, input_name)
    feeds = partial(feeds_of, calibration, model, input_name)
    positions = evenly(dataset.splits["validation"], VALIDATION_PICTURES)
    validation = PictureView(dataset.images, positions)
    sample = PictureView(dataset.images, evenly(dataset.splits["calibration"], NOISE_PICTURES))

    def quantize(path: Path, exclude: Sequence[str]) -> None:
        quantize_to_ranges(prepared, ranges, path, recipe, feeds, exclude)

    def logits(pictures: PictureView, path: Path) -> np.ndarray:
        return predict(load_predictor(path, model), pictures, model)

    def classes(path: Path) -> np.ndarray:
        return logits(validation, path).argmax(axis=1)

    accuracy = Accuracy(dataset.labels[positions], classes(source), classes)
    layers = in_groups(layers_of(prepared), recipe.layers_per_group or 1)
    with TemporaryDirectory() as folder:
        kept, record = search(layers, quantize, partial(logits, sample), logits(sample, source),
                              accuracy, recipe.max_drop_pp, Path(folder))
    quantize(target, nodes_of(kept))
    return ranges, record
