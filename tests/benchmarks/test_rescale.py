"""Rescaled networks say the same, and their channels are as unequal as was asked for."""

import numpy as np
import onnx
import pytest
from inverted_residual import NARROW, SIDE, network
from onnx import numpy_helper
from run_onnx import run
from synthetic import random_batch

from benchmarks.rescale import factors, profile, rescale, widened
from stages.quantization.equalization import find_groups

ACTIVATIONS = ("SiLU", "Clip", "Relu")


def logits(model):
    return run(model, {"input": random_batch(4, SIDE, seed=1)})[0]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_logits_stay_while_the_spread_rises_as_stated(activation):
    model = network(activation)
    before = model.SerializeToString()
    wanted = np.geomspace(0.01, 100, 15)
    twin = widened(model, [wanted], power=1)
    assert model.SerializeToString() == before, "the argument was changed"
    onnx.checker.check_model(twin, full_check=True)
    expected = logits(model)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(logits(twin), expected, atol=1e-4 * np.abs(expected).max())
    assert find_groups(model)
    for group, same in zip(find_groups(model), find_groups(twin), strict=True):
        assert profile(model, group).max() < 5
        assert 20 < profile(twin, same).max() < 100


@pytest.mark.parametrize("power", [0.5, 1, 2])
def test_profile_takes_on_the_wanted_one_in_its_own_order(power):
    model = network("SiLU")
    group, = find_groups(model)
    own = profile(model, group)
    wanted = np.array([0.5, 0.8, 1, 1, 1.2, 1.5, 2, 4])
    assert len(wanted) == len(own)
    twin = widened(model, [wanted], power)
    found = profile(twin, *find_groups(twin))
    assert (np.argsort(found) == np.argsort(own)).all()
    quantiles = np.quantile(np.log(wanted), (np.arange(8) + 0.5) / 8)
    expected = np.exp(power * quantiles)
    np.testing.assert_allclose(np.sort(found), expected / np.median(expected), rtol=1e-5)


def test_factors_of_one_change_nothing():
    model = network("SiLU")
    twin = rescale(model, [np.ones(NARROW)])
    np.testing.assert_array_equal(logits(twin), logits(model))


def test_power_of_zero_makes_channels_equal():
    """That is cross-layer equalization of the producers: the same factors, the other way."""
    own = np.array([0.1, 1.0, 7.0])
    np.testing.assert_allclose(own * factors(own, np.array([0.5, 1, 9]), 0), 1)


def test_dead_channel_stays_dead_and_finite():
    model = network("SiLU")
    for tensor in model.graph.initializer:
        if tensor.name.endswith("project_w"):
            values = numpy_helper.to_array(tensor).copy()
            values[3] = 0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    twin = widened(model, [np.geomspace(0.1, 10, NARROW)], 1)
    expected = logits(model)
    np.testing.assert_allclose(logits(twin), expected, atol=1e-4 * np.abs(expected).max())
