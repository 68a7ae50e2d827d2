"""What a recipe calibrates on, and the recipe that a model carries."""

import json

import numpy as np
import pytest
from omegaconf import OmegaConf
from onnx import helper
from paths import ROOT
from refusals import refusal
from run_onnx import model_of
from synthetic import recipe
from tiny_model import tiny_body

from stages.config.params import PARAMS_FILE, load_params
from stages.inference.session import RECIPE_KEY
from stages.quantization.recipe import (
    calibration_positions,
    record_recipe,
    recorded_recipe,
)


@pytest.mark.parametrize("wrap", [lambda values: values, OmegaConf.structured])
def test_model_carries_its_recipe_and_what_it_had(wrap):
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": [1]}, {"y": [1]})
    helper.set_model_props(model, {"classes": "[]"})
    record_recipe(model, wrap(recipe(reduce_range=True)), rounded=False, tuned=False)
    held = {entry.key: entry.value for entry in model.metadata_props}
    assert held["classes"] == "[]"
    assert json.loads(held[RECIPE_KEY]).items() >= {
        "method": "static", "activation_type": "QUInt8", "weight_type": "QInt8",
        "reduce_range": True}.items()


def test_calibration_takes_all_that_was_held_out_or_some_of_it_evenly():
    held_out = np.arange(100, 200, 10)
    assert calibration_positions(held_out, recipe()).tolist() == held_out.tolist()
    assert calibration_positions(held_out, recipe(calibration_images=4)).tolist() == [
        100, 130, 160, 190]
    message = refusal(calibration_positions, held_out, recipe(calibration_images=11))
    assert message == ("calibration_images: got 11, but 10 pictures were held out for "
                       "calibration; raise data.calibration_size")


@pytest.mark.parametrize("tuned", [True, False])
def test_fine_tuning_that_was_not_kept_is_not_in_the_recipe_of_the_model(tuned):
    model = tiny_body()
    assert recorded_recipe(model) is None
    params = load_params("quantize", path=ROOT / PARAMS_FILE)
    asked = params.quantize.variants.int8_qat
    record_recipe(model, asked, rounded=True, tuned=tuned)
    plain = OmegaConf.to_container(asked)
    assert plain["qat"]["steps"] == 100
    assert recorded_recipe(model) == (plain if tuned else {**plain, "qat": None})


@pytest.mark.parametrize("rounded", [True, False])
def test_rounding_that_was_not_kept_is_not_in_the_recipe_of_the_model(rounded):
    model = tiny_body()
    record_recipe(model, recipe(adaptive_rounding=True), rounded=rounded, tuned=False)
    assert recorded_recipe(model)["adaptive_rounding"] is rounded
