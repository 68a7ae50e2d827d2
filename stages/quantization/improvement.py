"""What is learned on a quantized model is kept where it helps, judged on pictures held out."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from stages.measurement.noise import signal_to_noise_db

log = logging.getLogger(__name__)

EVERY = 4


def held_out(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Part `positions` of calibration pictures into those to learn from, and those to judge by."""
    every = min(EVERY, len(positions))
    judges = np.arange(len(positions)) % every == every - 1
    return positions[~judges], positions[judges]


def keep_if_better(path: Path, changed: onnx.ModelProto, what: str,
                   logits: Callable[[Path], np.ndarray], reference: np.ndarray) -> dict[str, Any]:
    """Replace the model at `path` by `changed`, unless its logits are further from the float's.

    Args:
        what: it was changed by, for the log.
        logits: what the model at a path says of held-out pictures.
        reference: what the float model says of them.

    Returns:
        The signal-to-noise ratio of the logits before and after, in dB, and whether it is kept.
    """
    trial = path.with_name(path.name + ".trial")
    try:
        onnx.save(changed, trial)
        before, after = (round(signal_to_noise_db(reference, logits(each)), 2)
                         for each in (path, trial))
        kept = after >= before
        log.info("%s: logits at %.2f dB on held-out calibration pictures, %.2f dB before: %s",
                 what, after, before, "kept" if kept else "not better, the model stays as it was")
        if kept:
            os.replace(trial, path)
    finally:
        trial.unlink(missing_ok=True)
    return {"held_out_snr_db_before": before, "held_out_snr_db_after": after, "kept": kept}
