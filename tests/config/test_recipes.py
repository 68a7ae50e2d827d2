"""Recipes whose values contradict each other."""

import pytest
from refusals import refusal

from stages.config.recipes import check_recipe
from stages.config.schema import QatRecipe, Recipe

QAT = QatRecipe(steps=1, batch_size=2, lr=1e-3, seed=0)


def recipe(method, activation="QUInt8", weights="QInt8", calibration="none", correction=False,
           **more):
    return Recipe(method, weights, activation, False, calibration, correction, **more)


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
    assert message.startswith(f"int8_x.{key}: ")
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
