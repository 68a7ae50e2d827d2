"""What a recipe calibrates on, and keeping the recipe with the model."""

import json
from typing import Any

import numpy as np
import onnx
from omegaconf import OmegaConf

from stages.config.errors import UserError
from stages.config.schema import Recipe
from stages.data.dataset import evenly
from stages.inference.session import RECIPE_KEY, recipe_in


def calibration_positions(held_out: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Positions of the pictures that `recipe` calibrates on: all of `held_out`, or some, evenly.

    Raises:
        UserError: more are asked for than were held out.
    """
    wanted = recipe.calibration_images or len(held_out)
    if wanted > len(held_out):
        raise UserError(f"calibration_images: got {wanted}, but {len(held_out)} pictures were held "
                        "out for calibration; raise data.calibration_size")
    return evenly(held_out, wanted)


def record_recipe(model: onnx.ModelProto, recipe: Recipe, *, rounded: bool, tuned: bool
                  ) -> None:
    """Write `recipe` into the metadata of `model`, so that who loads it can tell
    whether this CPU cuts off its sums.

    Args:
        rounded, tuned: the model is what adaptive rounding or `recipe.qat` made of it; what was
            not kept, the recipe is written without.
    """
    entry = model.metadata_props.add()
    values = OmegaConf.to_container(OmegaConf.structured(recipe))
    values["adaptive_rounding"] &= rounded
    values["qat"] = values["qat"] if tuned else None
    entry.key, entry.value = RECIPE_KEY, json.dumps(values)


def recorded_recipe(model: onnx.ModelProto) -> dict[str, Any] | None:
    """The recipe that `record_recipe` wrote into `model`; None of a float model."""
    return recipe_in({entry.key: entry.value for entry in model.metadata_props})
