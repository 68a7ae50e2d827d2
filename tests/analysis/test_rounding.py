"""Rounding weights alone, against what ONNX Runtime's quantizer does and against the formula."""

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.analysis.rounding import (
    channel_spread,
    round_weights,
    with_float_weights,
    with_rounded_weights,
)
from stages.onnx_graph.layers import arrays_of, weights_of

WEIGHTS = arrays(np.float32, (4, 3, 2, 2),
                 elements=st.floats(-100, 100, width=32, allow_subnormal=False))


@given(WEIGHTS, st.booleans())
def test_rounding_errs_by_at_most_half_a_step(weights, per_channel):
    rounded = round_weights(weights, per_channel=per_channel)
    largest = np.abs(weights).reshape(4, -1).max(1) if per_channel else np.abs(weights).max()
    error = np.abs(rounded - weights).reshape(4, -1).max(axis=1)
    assert (error <= largest / 127 / 2 * 1.001 + 1e-30).all()


@given(WEIGHTS)
def test_rounding_twice_is_rounding_once(weights):
    once = round_weights(weights, per_channel=True)
    np.testing.assert_allclose(round_weights(once, per_channel=True), once, rtol=1e-6)


def test_a_wide_channel_wipes_out_a_narrow_one_per_tensor_only():
    weights = np.stack([np.full((1, 1, 1), 100.0), np.full((1, 1, 1), 0.1)]).astype(np.float32)
    assert round_weights(weights, per_channel=False)[1] == 0
    np.testing.assert_allclose(round_weights(weights, per_channel=True), weights, rtol=1e-6)


def test_spread_is_the_widest_channel_over_the_median_one():
    weights = np.array([[1, -1], [2, 0], [-30, 3]], dtype=np.float32)
    assert channel_spread(weights) == 15


def test_spread_is_finite_where_most_channels_are_dead():
    assert np.isfinite(channel_spread(np.array([[0], [0], [0], [5]], dtype=np.float32)))


def test_only_weights_change(lite0_files):
    model = onnx.load(lite0_files["fp32"])
    rounded = with_rounded_weights(model, per_channel=True)
    before, after = arrays_of(model), arrays_of(rounded)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == set(weights_of(model))


def test_float_weights_return_to_a_quantized_model(lite0_files):
    model = onnx.load(lite0_files["fp32"])
    restored = with_float_weights(onnx.load(lite0_files["static"]), model)
    onnx.checker.check_model(restored)
    own, original = weights_of(restored), weights_of(model)
    assert set(own) == set(original)
    assert all(np.array_equal(own[name], original[name]) for name in original)
    assert "QuantizeLinear" in {node.op_type for node in restored.graph.node}
