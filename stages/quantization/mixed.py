"""Mixed precision: INT8, but for the layers that cost more accuracy than is allowed.

Layers are kept in float in the order of the noise that quantizing each alone adds to the logits,
over its cost: its multiply-accumulates and, for the conversions at its edges, those of an average
layer. That cost is the same on every machine, where measured time would make the choice a matter of
luck; measured times by node stand in plots/node_time.csv. Noise and drop are those of this CPU: one
that cuts off sums keeps more layers in float. In a deep model several layers in a row may be judged
as one (layers_per_group). The fewest layers of that order are kept with which what is seen on
validation pictures is within all bounds, found by doubling and then halving the number. Every model
that is tried is one that could be shipped: its weights are rounded adaptively where the recipe says
so.

The recipe's own bound is on the drop as it is seen: it is a target of some tenths of a point, and
to show one of 0.1 at 95 % confidence on 5,000 pictures, no more than eight of them may be seen
differently, which asks for next to all layers in float. What is shown at that confidence is the
wider bound that selection asks for. A drop that is seen is a matter of luck as well; the noise of
the logits is not, can be told to a tenth of a decibel, and the less there is, the fewer predictions
change: its bound is min_snr_db. Several models may be tried on the same pictures, each at that
confidence, so that what the search returns is over the bound more often than one model in twenty
would be. The record has each of them, and the test split has no part in it.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from stages.config.errors import UserError
from stages.data.dataset import Dataset, PictureView
from stages.inference.predictor import load_onnx, predict
from stages.measurement.accuracy import (
    Comparison,
    compare,
    pictures_needed,
    pictures_told,
)
from stages.measurement.noise import decibels, signal_to_noise_db
from stages.quantization.sensitivity import (
    Layer,
    Logits,
    Quantize,
    in_groups,
    layers_of,
    nodes_of,
    noise_by_layer,
    quantize_only,
    weight_names,
)
from stages.quantization.static import Calibrated, float_logits

log = logging.getLogger(__name__)

# Rounds the weights of the model at a path adaptively, in place, and returns what came of it.
Round = Callable[[Path], dict[str, Any]]
# Pictures that accuracy, and that noise, are measured on.
VALIDATION_PICTURES, NOISE_PICTURES = 5000, 64
# Layers, the noisiest first, of which the drop in accuracy is measured one by one.
SHORTLIST = 5


@dataclass(frozen=True)
class Validation:
    """What a model is compared with the float model on.

    labels: int (n,), the true classes.
    reference: the float model's logits, (n, classes); logits: those of the model at a path.
    """

    labels: np.ndarray
    reference: np.ndarray
    logits: Logits

    def comparison(self, path: Path) -> tuple[Comparison, float]:
        """Of the model at `path` with the float model, and how far its logits are, in dB."""
        logits = self.logits(path)
        return (compare(self.labels, self.reference.argmax(axis=1), logits.argmax(axis=1)),
                signal_to_noise_db(self.reference, logits))


@dataclass(frozen=True)
class Bound:
    """Of a drop in accuracy, in percentage points: as it is seen, and at 95 % confidence. And of
    the logits' signal-to-noise ratio, from below, in dB.

    tested_pp: None where there are too few pictures to show anything at that confidence.
    snr_db: None where only the drop is bounded.
    """

    seen_pp: float
    tested_pp: float | None
    snr_db: float | None = None

    def holds(self, comparison: Comparison, snr_db: float) -> bool:
        """Whether drop and noise are within all of them."""
        return (comparison.drop_pp <= self.seen_pp
                and (self.tested_pp is None or comparison.drop_upper_pp() <= self.tested_pp)
                and (self.snr_db is None or snr_db >= self.snr_db))

    def __str__(self) -> str:
        tested = ("; too few pictures to test it" if self.tested_pp is None
                  else f", and within {self.tested_pp} at 95 %")
        noise = "" if self.snr_db is None else f"logits have at least {self.snr_db:g} dB and "
        return f"{noise}the drop on validation is within {self.seen_pp} points{tested}"


def bound_for(seen_pp: float, tested_pp: float, snr_db: float | None, pictures: int) -> Bound:
    """The bound on what is seen on `pictures`; warns where these are too few for `tested_pp`."""
    if pictures >= pictures_needed(tested_pp):
        return Bound(seen_pp, tested_pp, snr_db)
    log.warning("%d validation pictures are too few to show a drop within %s points at 95 %% "
                "(quantize.max_drop_pp), %s; only the drop as it is seen is bounded",
                pictures, tested_pp, pictures_told(tested_pp))
    return Bound(seen_pp, None, snr_db)


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


def search(layers: Sequence[Layer], quantize: Quantize, round_: Round | None, logits: Logits,
           reference: np.ndarray, validation: Validation, bound: Bound, target: Path
           ) -> tuple[dict[str, Any], dict[str, Any]]:
    """Replace the float model at `target` by the one that keeps the fewest of `layers` in float so
    that the drop is within `bound`, if one that quantizes anything is.

    Args:
        quantize: writes a model in which the named nodes stay float.
        round_: adaptive rounding, if the recipe has it; noise is that of weights rounded to the
            nearest.
        logits, reference: what the model at a path, and the float model, say of some pictures.

    Returns:
        The record of the search, and that of the rounding.
    """
    with TemporaryDirectory() as folder:
        trial = Path(folder) / target.name
        noise = noise_by_layer(layers, quantize, logits, reference, trial)
        alone = {}
        for index in sorted(range(len(layers)), key=lambda index: -noise[index])[:SHORTLIST]:
            quantize_only(layers[index], layers, quantize, trial)
            alone[index] = validation.comparison(trial)[0].drop_pp
        average = sum(layer.macs for layer in layers) / max(len(layers), 1)
        order = sorted(range(len(layers)),
                       key=lambda index: -noise[index] / max(layers[index].macs + average, 1))
        steps, rounding = [], {}

        def enough(count: int) -> bool:
            nonlocal rounding
            left = [layers[index] for index in order[:count]]
            quantize(trial, nodes_of(left))
            rounded = round_(trial) if round_ else {}
            found, snr_db = validation.comparison(trial)
            steps.append({"layers_in_float": len(weight_names(left)), **found.drop(),
                          "logits_snr_db": round(snr_db, 2)})
            log.info("%d of %d layers in float: drop %.2f points, at most %.2f at 95 %%, logits "
                     "at %.2f dB", len(weight_names(left)), len(weight_names(layers)),
                     found.drop_pp, found.drop_upper_pp(), snr_db)
            if holds := bound.holds(found, snr_db):  # fewer layers each time than the time before
                shutil.copyfile(trial, target)
                rounding = rounded
            return holds

        kept = [layers[index] for index in order[:fewest(len(layers), enough)]]
    macs = sum(layer.macs for layer in layers)
    return {
        "max_drop_pp": bound.seen_pp, "max_drop_upper_pp": bound.tested_pp,
        "min_snr_db": bound.snr_db,
        "validation_images": len(validation.labels),
        "float_accuracy": float(np.mean(validation.labels == validation.reference.argmax(axis=1))),
        "kept_in_float": list(weight_names(kept)),
        "reason": f"{'the fewest with which' if kept else 'all quantized,'} {bound}",
        "macs_in_float": sum(layer.macs for layer in kept) / max(macs, 1),
        "steps": steps,
        "sensitivity": [{"weights": list(layer.weights), "macs": layer.macs,
                         "logits_snr_db": round(float(decibels(1, noise[index])), 2),
                         "drop_pp": alone.get(index)}
                        for index, layer in enumerate(layers)]}, rounding


def quantize_mixed(base: Calibrated, target: Path, dataset: Dataset, tested_drop_pp: float,
                   round_: Round | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write `base`, quantized but for the layers that the search keeps in float, to `target`.

    Args:
        tested_drop_pp: bound of the drop at 95 % confidence, in percentage points.
        round_: adaptive rounding, if the recipe has it.

    Returns:
        The record of the search, and that of the rounding.

    Raises:
        UserError: the model has no layer, or its logits are not finite.
    """
    recipe = base.recipe
    layers = layers_of(base.model)
    if not layers:
        raise UserError(f"{base.source}: has no layer that could stay in float by itself; set "
                        "method: static")
    shutil.copyfile(base.source, target)  # what is left where no drop is within the bound
    pictures = dataset.some("validation", VALIDATION_PICTURES)
    sample = dataset.some("calibration", NOISE_PICTURES)

    def logits(pictures: PictureView, path: Path) -> np.ndarray:
        return predict(load_onnx(path), pictures, base.params)

    return search(in_groups(layers, recipe.layers_per_group or 1), base.write, round_,
                  partial(logits, sample), float_logits(base.source, sample, base.params),
                  Validation(dataset.labels[pictures.positions],
                             float_logits(base.source, pictures, base.params),
                             partial(logits, pictures)),
                  bound_for(recipe.max_drop_pp, tested_drop_pp, recipe.min_snr_db,
                            len(pictures)), target)
