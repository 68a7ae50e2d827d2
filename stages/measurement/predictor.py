"""One way to run a model, whatever it is stored as."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from stages.config.schema import Model
from stages.measurement.preflight import warn_if_saturating
from stages.measurement.session import Predictor, open_session, predictor_of, thread_count
from stages.model.checkpoint import load_checkpoint
from stages.model.preprocess import preprocess

EVALUATION_BATCH = 64


def load_predictor(path: Path, params: Model) -> Predictor:
    """Load a checkpoint (.pt) or an ONNX model to run on the CPU with all its cores.

    A quantized model that loses accuracy on this CPU is warned of.

    Raises:
        UserError: the file is missing or not such a model.
    """
    if path.suffix == ".pt":
        return load_torch(path, params, "channels_last")
    session = open_session(path, thread_count())
    warn_if_saturating(path, session.get_modelmeta().custom_metadata_map)
    return predictor_of(session)


def load_torch(path: Path, params: Model, mode: str) -> Predictor:
    """Load a checkpoint to run with all cores.

    Args:
        mode: eager (memory as it comes), channels_last, or compile (channels_last, and
            torch.compile at the first run).

    Raises:
        UserError: the file is missing or no such checkpoint.
    """
    layout = torch.contiguous_format if mode == "eager" else torch.channels_last
    model = load_checkpoint(path, params)[0].to(memory_format=layout)
    if mode == "compile":
        model = torch.compile(model)
    torch.set_num_threads(thread_count())
    return lambda batch: _run_torch(model, batch, layout)


def _run_torch(model: torch.nn.Module, batch: np.ndarray, layout: torch.memory_format
               ) -> np.ndarray:
    with torch.inference_mode():
        inputs = torch.from_numpy(batch).contiguous(memory_format=layout)
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
