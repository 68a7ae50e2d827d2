"""Running a model that `deploy` built, with onnxruntime and numpy alone."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from stages.config.errors import UserError
from stages.inference.saturation import warn_if_saturating
from stages.inference.session import ONNX_ERRORS, metadata_of, open_session

PICTURES = "pictures"
LOGITS, PROBABILITIES, CLASS_INDEX = OUTPUTS = ("logits", "probabilities", "class_index")
# The metadata of a model: what each key holds is told by stages.deployment.metadata.
FORMAT_KEY, FORMAT = "format", "stages.deploy 1"
JSON_KEYS = ("classes", "preset", "accuracy", "calibration", "golden")
HASH_KEYS = ("parameters_sha256", "data_sha256", "fp32_sha256", "variant_sha256", "graph_sha256",
             "metadata_sha256")


@dataclass
class DeployedModel:
    """A model ready to run.

    metadata: values by key; those of JSON_KEYS are decoded.
    """

    session: onnxruntime.InferenceSession
    metadata: dict[str, Any]

    @property
    def classes(self) -> list[str]:
        """Class names; a class index is a position in them."""
        return self.metadata["classes"]

    @property
    def resolution(self) -> int:
        """Pixels, side of the square that the pictures of training were brought to."""
        return self.metadata["preset"]["resolution"]

    def run(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Classify uint8 pictures (batch, height, width, 3) of any height and width.

        Returns:
            Logits and probabilities, float32 (batch, classes), and class index, int64 (batch,).

        Raises:
            UserError: it can't run on them.
        """
        try:
            return tuple(self.session.run(list(OUTPUTS), {PICTURES: pictures}))
        except ONNX_ERRORS as error:
            raise UserError(f"the model can't run on pictures of shape {pictures.shape} "
                            f"({' '.join(str(error).split())})") from None


def load_deployed(path: Path) -> DeployedModel:
    """Load the model at `path`; one that loses accuracy on this CPU is warned of.

    Raises as `open_deployed` does.
    """
    model = open_deployed(path)
    warn_if_saturating(path, model.metadata["calibration"])
    return model


def open_deployed(path: Path) -> DeployedModel:
    """Load the model at `path`, without a warning.

    Raises:
        UserError: no such file, not an ONNX model, or not one that `deploy` built.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    session = open_session(path)
    model = DeployedModel(session, decoded(metadata_of(session, path), path))
    if ([(value.name, value.type) for value in session.get_inputs()]
            != [(PICTURES, "tensor(uint8)")]
            or [value.name for value in session.get_outputs()] != list(OUTPUTS)
            or session.get_outputs()[0].shape[-1:] != [len(model.classes)]):
        raise UserError(f"{path}: inputs, outputs and classes are not those of a model built by "
                        "stages.deploy")
    return model


def decoded(metadata: dict[str, str], path: Path) -> dict[str, Any]:
    """The metadata of the model at `path`, with the values of JSON_KEYS decoded.

    Raises:
        UserError: it is not what `deploy` writes.
    """
    if metadata.get(FORMAT_KEY) != FORMAT:
        raise UserError(f"{path}: not a model built by stages.deploy ('{FORMAT_KEY}' in its "
                        f"metadata is {metadata.get(FORMAT_KEY)!r}, expected {FORMAT!r})")
    if missing := [key for key in (*JSON_KEYS, *HASH_KEYS) if key not in metadata]:
        raise UserError(f"{path}: its metadata lacks {', '.join(missing)}")
    try:
        values = {key: json.loads(value) if key in JSON_KEYS else value
                  for key, value in metadata.items()}
        usable = (all(isinstance(name, str) for name in values["classes"])
                  and values["preset"]["resolution"] >= 1
                  and isinstance(values["calibration"], dict | None))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: its metadata can't be read ({error})") from None
    if not usable:
        raise UserError(f"{path}: its metadata holds no class names, no resolution or no recipe")
    return values
