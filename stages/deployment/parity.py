"""How far the model with its preprocessing in the graph is from the pipeline's own."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from stages.config.errors import UserError
from stages.config.schema import Model
from stages.deployment.runtime import DeployedModel
from stages.deployment.wrap import preprocessing_model
from stages.inference.predictor import in_batches
from stages.inference.session import open_session
from stages.model.preprocess import UINT8_MAX, preprocess

# Float resizing in another order of sums: 0.004 grey levels from 500 by 375 to 224 pixels. It grows
# with coordinates: 0.021 from 800 to 768, 0.036 from 2048 to 1900.
MAX_GREY_LEVELS, OF_SIDE = 0.02, 512
# Where a picture has the model's size, all is equal to the last digit. Resized, values that stand
# half-way between two steps of an INT8 model's input can fall either way, and so can the class of
# a near tie: of CIFAR-10 enlarged six times, on a CPU with AVX2, these are 3 % of the values; a
# tenth of them falls otherwise, and 0.6 % of the classes tip; of a B3 that is half-trained and
# unsure (78 % right), 3.3 %, though the graph gives what its parts give to the last bit. One
# picture may always tip.
MIN_AGREEMENT = 0.95
MAX_MEAN_CONFIDENCE_DIFF = 0.01


def grey_level_difference(batches: Iterable[np.ndarray], params: Model) -> float:
    """Largest difference of the two preprocessings, in grey levels of 255.

    `batches` holds uint8 pictures (B, H, W, 3), each batch of a size of its own.
    """
    session = open_session(preprocessing_model(params).SerializeToString())
    scale = np.float32(params.std).reshape(1, 3, 1, 1) * UINT8_MAX
    return max(float((np.abs(session.run(None, {session.get_inputs()[0].name: batch})[0]
                             - preprocess(torch.from_numpy(batch), params.image_size,
                                          params.mean, params.std).numpy()) * scale).max())
               for batch in batches)


def predictions_of(table: pd.DataFrame, split: str, positions: np.ndarray) -> pd.DataFrame:
    """The rows on `split` of what evaluate wrote, one for each of the split's `positions`.

    Raises:
        UserError: they are of other pictures.
    """
    rows = table[table.split == split]
    if not np.array_equal(rows.position, positions):
        raise UserError(f"deploy: the predictions on {split} are not of the present pictures; run "
                        "'dvc repro --force evaluate'")
    return rows


def prediction_difference(model: DeployedModel, pictures: Sequence[np.ndarray],
                          expected: pd.DataFrame) -> dict[str, Any]:
    """Compare with what evaluate wrote of the same uint8 pictures (n, H, W, 3).

    `expected` has columns label, predicted and confidence, a row for each picture. The batches are
    those of evaluate: a dynamically quantized model takes its ranges from the batch.
    """
    parts = [model.run(batch) for batch in in_batches(pictures)]
    probabilities, predicted = (np.concatenate([part[index] for part in parts])
                                for index in (1, 2))
    differences = np.abs(probabilities.max(axis=1) - expected.confidence.to_numpy())
    return {"images": len(pictures),
            "class_agreement": float((predicted == expected.predicted.to_numpy()).mean()),
            "max_confidence_diff": round(float(differences.max()), 6),
            "mean_confidence_diff": round(float(differences.mean()), 6),
            "accuracy": float((predicted == expected.label.to_numpy()).mean())}


def check_parity(grey_levels: float, side: int, predictions: dict[str, dict[str, Any]]) -> None:
    """Hold what was measured to the bounds above; `side` is of the larger pictures, in pixels.

    Raises:
        UserError: the deployed model is not the selected variant behind the same preprocessing.
    """
    bound = MAX_GREY_LEVELS * max(1, side / OF_SIDE)
    if not grey_levels <= bound:
        raise UserError(f"deploy: preprocessing in the graph is off by {grey_levels:.2g} grey "
                        f"levels, accepted are {bound:.2g}")
    for split, found in predictions.items():
        tipped = round((1 - found["class_agreement"]) * found["images"])
        accepted = max(1, int((1 - MIN_AGREEMENT) * found["images"]))
        if not (tipped <= accepted
                and found["mean_confidence_diff"] <= MAX_MEAN_CONFIDENCE_DIFF):
            raise UserError(
                f"deploy: on {split}, the class of {tipped} of {found['images']} pictures is not "
                "the one that evaluate found, and confidence differs by "
                f"{found['mean_confidence_diff']:.2g} on average; accepted are {accepted} and "
                f"{MAX_MEAN_CONFIDENCE_DIFF}: was another model evaluated? Run 'dvc repro --force "
                "evaluate'")


def check_quantized(body: tuple[int, int], wrapped: tuple[int, int], added: int) -> None:
    """Hold (quantized, float) node counts, as ONNX Runtime runs them, of a model with its body's.

    Raises:
        UserError: nodes of the body that run in INT8 alone run in float once they are wrapped.
    """
    if wrapped[0] < body[0] or wrapped[1] > body[1] + added:
        raise UserError(f"deploy: {body[0]} nodes ran in INT8 and {body[1]} in float, now "
                        f"{wrapped[0]} and {wrapped[1]} (of which {added} are added)")
