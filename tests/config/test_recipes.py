"""Recipes whose values contradict each other."""

import pytest
from refusals import refusal
from synthetic import recipe

from stages.config.recipes import check_recipe
from stages.config.schema import QatRecipe

QAT = QatRecipe(steps=1, batch_size=2, lr=1e-3, seed=0)


@pytest.mark.parametrize(("values", "key", "told"), [
    (recipe("dynamic", calibration="mse"), "calibration", "got 'mse'"),
    (recipe("dynamic", bias_correction=True), "bias_correction", "needs method: static"),
    (recipe("dynamic", equalization=True), "equalization", "needs method: static or mixed"),
    (recipe("dynamic", cut_flat_tails=True), "cut_flat_tails", "needs method: static or mixed"),
    (recipe("mixed", calibration="mse", max_drop_pp=1, first_in_float=2), "first_in_float",
     "got 2, which needs method: static"),
    (recipe("dynamic", adaptive_rounding=True), "adaptive_rounding", "needs method: static or"),
    (recipe(calibration="mse", bias_correction=True, adaptive_rounding=True),
     "bias_correction", "set one of them to false"),
    (recipe("dynamic", activation_type="QInt8"), "activation_type", "QUInt8 alone"),
    (recipe(calibration="none"), "calibration", "got 'none'"),
    (recipe(weight_type="QUInt8", activation_type="QInt8"), "weight_type", "does not combine"),
    (recipe("dynamic", calibration_images=9), "calibration_images",
     "needs method: static or mixed"),
    (recipe("dynamic", reduce_range=True), "reduce_range", "needs method: static or mixed"),
    (recipe("mixed"), "max_drop_pp", "method mixed needs it"),
    (recipe("mixed", calibration="none", max_drop_pp=1), "calibration", "got 'none'"),
    (recipe(max_drop_pp=1), "max_drop_pp", "needs method: mixed"),
    (recipe(min_snr_db=30), "min_snr_db", "needs method: mixed"),
    (recipe(layers_per_group=2), "layers_per_group", "needs method: mixed"),
    (recipe("dynamic", qat=QAT), "qat", "needs method: static"),
    (recipe("mixed", max_drop_pp=1, qat=QAT), "qat", "set method: static"),
    (recipe(first_in_float=1, qat=QAT), "qat", "first_in_float: 0"),
])
def test_a_contradiction_is_refused_by_key(values, key, told):
    message = refusal(check_recipe, "int8_x", values)
    assert message.startswith(f"int8_x.{key}: ")
    assert told in message


@pytest.mark.parametrize("values", [
    recipe("dynamic"), recipe("dynamic", weight_type="QUInt8"), recipe(calibration="mse"),
    recipe(activation_type="QInt8", calibration="entropy", bias_correction=True,
           equalization=True),
    recipe(calibration="mse", equalization=True, adaptive_rounding=True),
    recipe(weight_type="QUInt8", calibration="percentile"),
    recipe(calibration="mse", reduce_range=True), recipe("mixed", max_drop_pp=0),
    recipe(qat=QAT), recipe(adaptive_rounding=True, qat=QAT)])
def test_what_goes_together_is_accepted(values):
    check_recipe("int8_x", values)
