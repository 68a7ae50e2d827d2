"""Running a model on pictures; opening an ONNX model for that."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.config.errors import UserError
from stages.config.schema import Model
from stages.inference.saturation import warn_if_saturating
from stages.inference.session import (
    Predictor,
    metadata_of,
    open_session,
    predictor_of,
    recipe_in,
)
from stages.model.preprocess import preprocess

EVALUATION_BATCH = 64


def load_onnx(path: Path, **more: Any) -> Predictor:
    """Load an ONNX model to run on the CPU with all its cores.

    A quantized model that loses accuracy on this CPU is warned of.

    Args:
        more: options of the session, by name.

    Raises:
        UserError: the file is missing or no such model.
    """
    session = open_session(path, **more)
    warn_if_saturating(path, recipe_in(metadata_of(session, path)))
    return predictor_of(session)


def check_finite(logits: np.ndarray, path: Path) -> None:
    """Raises UserError if the model at `path` gives NaN or infinity; `logits` are (n, classes)."""
    if wrong := np.count_nonzero(~np.isfinite(logits.reshape(len(logits), -1)).all(axis=1)):
        raise UserError(f"{path}: gives NaN or infinity for {wrong} of {len(logits)} pictures; "
                        "train it again, or with a lower train.lr")


def model_input(pictures: np.ndarray, params: Model) -> np.ndarray:
    """Preprocess uint8 (B, H, W, 3) to contiguous float32 (B, 3, S, S)."""
    batch = preprocess(torch.from_numpy(pictures), params.image_size, params.mean, params.std)
    return batch.contiguous().numpy()


def in_batches(pictures: Sequence[np.ndarray], size: int = EVALUATION_BATCH
               ) -> Iterator[np.ndarray]:
    """Pictures (n, H, W, 3) in their order, `size` at a time; the last batch may be smaller."""
    for start in range(0, len(pictures), size):
        yield pictures[start:start + size]


def predict(predictor: Predictor, pictures: Sequence[np.ndarray], params: Model) -> np.ndarray:
    """Logits, float32 (n, classes), of uint8 pictures (n, H, W, 3), by batches."""
    return np.concatenate([predictor(model_input(batch, params)) for batch in in_batches(pictures)])
