"""One way to run a model, whatever it is stored as."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from stages.config.errors import UserError
from stages.config.schema import Model
from stages.measurement.preflight import warn_if_saturating
from stages.measurement.session import open_session
from stages.model.checkpoint import load_checkpoint
from stages.model.preprocess import preprocess

# From float32 (B, 3, S, S) to logits, float32 (B, classes).
Predictor = Callable[[np.ndarray], np.ndarray]

EVALUATION_BATCH = 64


def thread_count() -> int:
    """The number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def load_predictor(path: Path, params: Model) -> Predictor:
    """Load a checkpoint (.pt) or an ONNX model to run on the CPU with all its cores.

    A quantized model that loses accuracy on this CPU is warned of.

    Raises:
        UserError: the file is missing or not such a model.
    """
    if path.suffix == ".pt":
        model = load_checkpoint(path, params)[0].to(memory_format=torch.channels_last)
        torch.set_num_threads(thread_count())
        return lambda batch: _run_torch(model, batch)
    if not path.is_file():
        raise UserError(f"{path}: no such file; run 'dvc repro'")
    session = open_session(path, thread_count())
    warn_if_saturating(path, session.get_modelmeta().custom_metadata_map)
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


def _run_torch(model: torch.nn.Module, batch: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        inputs = torch.from_numpy(batch).contiguous(memory_format=torch.channels_last)
        return model(inputs).numpy()


def model_input(pictures: np.ndarray, params: Model) -> np.ndarray:
    """Preprocess uint8 (B, H, W, 3) to contiguous float32 (B, 3, S, S)."""
    batch = preprocess(torch.from_numpy(pictures), params.image_size, params.mean, params.std)
    return batch.contiguous().numpy()


def predict(predictor: Predictor, pictures: Sequence[np.ndarray], params: Model) -> np.ndarray:
    """Logits, float32 (n, classes), of uint8 pictures (n, H, W, 3), by batches."""
    return np.concatenate([
        predictor(model_input(pictures[start:start + EVALUATION_BATCH], params))
        for start in range(0, len(pictures), EVALUATION_BATCH)])
