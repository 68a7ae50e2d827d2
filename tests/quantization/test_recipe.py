"""Recipes whose values contradict each other."""

import pytest
from refusals import refusal

from stages.config.schema import QuantizedVariant
from stages.quantization.recipe import check_recipe


def recipe(method, activation="QUInt8", weights="QInt8", calibration="none", correction=False):
    return QuantizedVariant(method, weights, activation, False, calibration, correction)


@pytest.mark.parametrize(("values", "key", "told"), [
    (recipe("dynamic", calibration="mse"), "calibration", "got 'mse'"),
    (recipe("dynamic", correction=True), "bias_correction", "needs method: static"),
    (recipe("dynamic", activation="QInt8"), "activation_type", "QUInt8 alone"),
    (recipe("static"), "calibration", "got 'none'"),
    (recipe("static", "QInt8", "QUInt8", "minmax"), "weight_type", "does not combine"),
])
def test_a_contradiction_is_refused_by_key(values, key, told):
    message = refusal(check_recipe, "int8_x", values)
    assert message.startswith(f"params.yaml: quantize.variants.int8_x.{key}: ")
    assert told in message


@pytest.mark.parametrize("values", [
    recipe("dynamic"), recipe("dynamic", weights="QUInt8"), recipe("static", calibration="mse"),
    recipe("static", "QInt8", "QInt8", "entropy", True),
    recipe("static", "QUInt8", "QUInt8", "percentile")])
def test_what_goes_together_is_accepted(values):
    check_recipe("int8_x", values)
