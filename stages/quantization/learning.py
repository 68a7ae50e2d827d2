"""What a quantized model learns from the float one: rounding and weights, kept where they help.

It learns from part of the calibration pictures and is judged on the rest.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from stages.data.dataset import Dataset, PictureView, evenly
from stages.inference.predictor import load_onnx, predict
from stages.inference.saturation import exact_session
from stages.measurement.noise import signal_to_noise_db
from stages.quantization.adaptive_rounding import round_adaptively
from stages.quantization.layer_rows import ROWS
from stages.quantization.qat import fine_tune, random_batches
from stages.quantization.static import Calibrated, feeds_of, float_logits
from stages.quantization.torch_operators import not_tunable
from stages.training.process import keep_freed_memory, use_own_cores

log = logging.getLogger(__name__)

EVERY = 4


def held_out(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Part `positions` of calibration pictures into those to learn from, and those to judge by."""
    every = min(EVERY, len(positions))
    judges = np.arange(len(positions)) % every == every - 1
    return positions[~judges], positions[judges]


@dataclass(frozen=True)
class Learning:
    """What the models of one recipe learn from, and are judged by.

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

    @classmethod
    def of(cls, base: Calibrated, dataset: Dataset) -> "Learning":
        """From the calibration pictures of `dataset`."""
        keep_freed_memory()
        use_own_cores()
        taught, judging = held_out(dataset.splits["calibration"])
        judges = PictureView(dataset.images, judging)
        # Each picture gives at least a row of a layer, so that more of them would exceed ROWS.
        return cls(base, dataset, PictureView(dataset.images, evenly(taught, ROWS)), judges,
                   float_logits(base.source, judges, base.params))

    @property
    def session(self) -> dict[str, Any]:
        """Options of the sessions that quantized models run in, by name."""
        recipe = self.base.recipe
        return exact_session(weight_type=recipe.weight_type, reduce_range=recipe.reduce_range)

    def round(self, target: Path) -> dict[str, Any]:
        """Round the weights of the model at `target` adaptively; what came of it."""
        graph = onnx.load(target)
        layers = round_adaptively(graph, self.base.model,
                                  lambda: feeds_of(self.taught, self.base.params),
                                  **self.session)
        # Method mixed may have left all in float.
        return {**self.keep_if_better(target, graph, "rounding"), "layers": layers} \
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
        return {**self.keep_if_better(target, graph, "qat"),
                "first_loss": losses[0], "last_loss": losses[-1]}

    def keep_if_better(self, target: Path, changed: onnx.ModelProto, what: str) -> dict[str, Any]:
        """Replace the model at `target` by `changed`, unless its logits are further from the
        float's on the pictures that judge.

        Args:
            what: it was changed by, for the log.

        Returns:
            The signal-to-noise ratio of the logits before and after, in dB, and whether it is kept.
        """
        trial = target.with_name(target.name + ".trial")
        try:
            onnx.save(changed, trial)
            before, after = (round(signal_to_noise_db(self.reference, self._logits(path)), 2)
                             for path in (target, trial))
            kept = after >= before
            log.info("%s: logits at %.2f dB on held-out calibration pictures, %.2f dB before: %s",
                     what, after, before,
                     "kept" if kept else "not better, the model stays as it was")
            if kept:
                os.replace(trial, target)
        finally:
            trial.unlink(missing_ok=True)
        return {"held_out_snr_db_before": before, "held_out_snr_db_after": after, "kept": kept}

    def _logits(self, path: Path) -> np.ndarray:
        return predict(load_onnx(path, **self.session), self.judges, self.base.params)
