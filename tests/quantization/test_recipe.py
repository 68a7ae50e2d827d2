"""Recipes whose values contradict each other, and the recipe that a model carries."""

import json
from functools import partial

import numpy as np
import onnx
import pytest
from import_closure import ROOT
from omegaconf import OmegaConf
from onnx import TensorProto, helper
from refusals import refusal
from tiny_model import tiny_body

from stages.config.params import PARAMS_FILE, load_params
from stages.config.schema import QatRecipe, QuantizedVariant
from stages.measurement.saturation import RECIPE_KEY
from stages.quantization.recipe import (
    calibration_positions,
    check_recipe,
    record_recipe,
    recorded_recipe,
)

QAT = QatRecipe(steps=1, batch_size=2, lr=1e-3, seed=0)


def recipe(method, activation="QUInt8", weights="QInt8", calibration="none", correction=False,
           **more):
    return QuantizedVariant(method, weights, activation, False, calibration, correction, **more)


@pytest.mark.parametrize(("values", "key", "told"), [
    (recipe("dynamic", calibration="mse"), "calibration", "got 'mse'"),
    (recipe("dynamic", correction=True), "bias_correction", "needs method: static"),
    (recipe("dynamic", equalization=True), "equalization", "needs method: static or mixed"),
    (recipe("dynamic", cut_flat_tails=True), "cut_flat_tails", "needs method: static or mixed"),
    (recipe("mixed", calibration="mse", max_drop_pp=1, first_in_float=2), "first_in_float",
     "got 2, which needs method: static"),
    (recipe("dynamic", adaptive_rounding=True), "adaptive_rounding", "needs method: static or"),
    (recipe("static", calibration="mse", correction=True, adaptive_rounding=True),
     "bias_correction", "set one of them to false"),
    (recipe("dynamic", activation="QInt8"), "activation_type", "QUInt8 alone"),
    (recipe("static"), "calibration", "got 'none'"),
    (recipe("static", "QInt8", "QUInt8", "minmax"), "weight_type", "does not combine"),
    (recipe("dynamic", calibration_images=9), "calibration_images",
     "needs method: static or mixed"),
    (recipe("dynamic", reduce_range=True), "reduce_range", "needs method: static or mixed"),
    (recipe("mixed", calibration="minmax"), "max_drop_pp", "method mixed needs it"),
    (recipe("mixed", max_drop_pp=1), "calibration", "got 'none'"),
    (recipe("static", calibration="minmax", max_drop_pp=1), "max_drop_pp", "needs method: mixed"),
    (recipe("static", calibration="minmax", layers_per_group=2), "layers_per_group",
     "needs method: mixed"),
    (recipe("dynamic", qat=QAT), "qat", "needs method: static"),
    (recipe("mixed", calibration="minmax", max_drop_pp=1, qat=QAT), "qat", "set method: static"),
    (recipe("static", calibration="minmax", first_in_float=1, qat=QAT), "qat",
     "first_in_float: 0"),
    (recipe("static", calibration="minmax", adaptive_rounding=True, qat=QAT), "qat",
     "adaptive_rounding: false"),
])
def test_a_contradiction_is_refused_by_key(values, key, told):
    message = refusal(check_recipe, "int8_x", values)
    assert message.startswith(f"params.yaml: quantize.variants.int8_x.{key}: ")
    assert told in message


@pytest.mark.parametrize("values", [
    recipe("dynamic"), recipe("dynamic", weights="QUInt8"), recipe("static", calibration="mse"),
    recipe("static", "QInt8", "QInt8", "entropy", True, equalization=True),
    recipe("static", calibration="mse", equalization=True, adaptive_rounding=True),
    recipe("static", "QUInt8", "QUInt8", "percentile"),
    recipe("static", calibration="mse", reduce_range=True),
    recipe("mixed", calibration="minmax", max_drop_pp=0),
    recipe("static", calibration="minmax", qat=QAT)])
def test_what_goes_together_is_accepted(values):
    check_recipe("int8_x", values)


@pytest.mark.parametrize("wrap", [lambda values: values, OmegaConf.structured])
def test_model_carries_its_recipe_and_what_it_had(tmp_path, wrap):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "graph", [value],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])
    model = helper.make_model(graph)
    helper.set_model_props(model, {"classes": "[]"})
    onnx.save(model, tmp_path / "model.onnx")
    record_recipe(tmp_path / "model.onnx", wrap(recipe("static", reduce_range=True)),
                  rounded=False, tuned=False)
    held = {entry.key: entry.value
            for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert held["classes"] == "[]"
    assert json.loads(held[RECIPE_KEY]).items() >= {
        "method": "static", "activation_type": "QUInt8", "weight_type": "QInt8",
        "reduce_range": True}.items()


def test_calibration_takes_all_that_was_held_out_or_some_of_it_evenly():
    held_out = np.arange(100, 200, 10)
    of = partial(recipe, "static", calibration="minmax")
    assert calibration_positions(held_out, of()).tolist() == held_out.tolist()
    assert calibration_positions(held_out, of(calibration_images=4)).tolist() == [
        100, 130, 160, 190]
    message = refusal(calibration_positions, held_out, of(calibration_images=11))
    assert message == ("calibration_images: got 11, but 10 pictures were held out for "
                       "calibration; raise data.calibration_size")


@pytest.mark.parametrize("tuned", [True, False])
def test_fine_tuning_that_was_not_kept_is_not_in_the_recipe_of_the_model(tmp_path, tuned):
    path = tmp_path / "model.onnx"
    onnx.save(tiny_body(), path)
    assert recorded_recipe(onnx.load(path)) is None
    params = load_params("quantize", path=ROOT / PARAMS_FILE)
    asked = params.quantize.variants.int8_qat
    record_recipe(path, asked, rounded=True, tuned=tuned)
    plain = OmegaConf.to_container(asked)
    assert plain["qat"]["steps"] == 100
    assert recorded_recipe(onnx.load(path)) == (plain if tuned else {**plain, "qat": None})


@pytest.mark.parametrize("rounded", [True, False])
def test_rounding_that_was_not_kept_is_not_in_the_recipe_of_the_model(tmp_path, rounded):
    path = tmp_path / "model.onnx"
    onnx.save(tiny_body(), path)
    record_recipe(path, recipe("static", adaptive_rounding=True), rounded=rounded,
                  tuned=False)
    assert recorded_recipe(onnx.load(path))["adaptive_rounding"] is rounded
