"""Channels that are all but dead, through ONNX Runtime's quantizer with and without the floor."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from run_onnx import model_of, run
from synthetic import TINY, recipe

from stages.onnx_graph.layers import arrays_of
from stages.quantization.channel_floor import with_channel_floor
from stages.quantization.static import write_qdq
from stages.quantization.stored_weights import dequantized_weights

INT32_MAX = np.iinfo(np.int32).max
BIAS = np.array([0.5, -3.3, 7.7, 0.0, -1.23456], dtype=np.float32)
SPANS = {"x": (np.float32(-2), np.float32(3)), "y": (np.float32(-10), np.float32(10))}
STEP = 5 / 255


def layer(kind="Conv"):
    """A layer of five channels: one alive, and weights of 1e-12, 0, 0 and 1e-30."""
    shape = (5, 3, 3, 3) if kind == "Conv" else (5, 12)
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(shape).astype(np.float32)
    weights *= np.array([1, 1e-12, 0, 0, 1e-30], dtype=np.float32).reshape(-1, *[1] * (
        len(shape) - 1))
    node = (helper.make_node("Conv", ["x", "w", "b"], ["y"], name="layer", pads=[1] * 4)
            if kind == "Conv" else
            helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="layer", transB=1))
    given, put = ((2, 3, 4, 4), (2, 5, 4, 4)) if kind == "Conv" else ((2, 12), (2, 5))
    return model_of([node], {"x": given}, {"y": put}, {"w": weights, "b": BIAS})


def batch_for(model):
    shape = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(1).uniform(-2, 3, shape).astype(np.float32)


def stored_bias(model, tmp_path, weight_type="QInt8", per_channel=True):
    """(int32 bias, the value it stands for) of `model` quantized to SPANS."""
    path = tmp_path / "int8.onnx"
    write_qdq(model, SPANS, path, recipe(weight_type=weight_type, per_channel=per_channel))
    quantized = onnx.load(path)
    return (arrays_of(quantized)["b_quantized"].astype(np.int64),
            dequantized_weights(quantized)["b"])


def test_a_bias_of_one_row_is_a_bias():
    flat, row = layer("Gemm"), layer("Gemm")
    [bias] = [tensor for tensor in row.graph.initializer if tensor.name == "b"]
    bias.CopyFrom(numpy_helper.from_array(BIAS[None], "b"))
    weights = [arrays_of(with_channel_floor(model, SPANS))["w"] for model in (flat, row)]
    np.testing.assert_array_equal(*weights)


@pytest.mark.parametrize("kind", ["Conv", "Gemm"])
@pytest.mark.parametrize(("weight_type", "per_channel"), [
    ("QInt8", True), ("QInt8", False), ("QUInt8", True), ("QUInt8", False)])
def test_every_bias_fits_int32_and_keeps_its_value(tmp_path, kind, weight_type, per_channel):
    integers, value = stored_bias(with_channel_floor(layer(kind), SPANS), tmp_path, weight_type,
                                  per_channel)
    assert (np.abs(integers) < INT32_MAX).all()
    # Half a step of a live channel, or of the whole layer when it has one step.
    assert np.abs(value - BIAS).max() < STEP * 0.05 / 2
    if per_channel:
        np.testing.assert_allclose(value[1:], BIAS[1:], atol=1e-6)


def test_without_the_floor_a_bias_is_rounded_to_input_steps_or_clipped(tmp_path):
    """What the step is for, so that it can go when the quantizer no longer needs it."""
    _, value = stored_bias(layer(), tmp_path)
    assert abs(value[2] - BIAS[2]) > STEP / 10
    integers, _ = stored_bias(layer(), tmp_path, "QUInt8")
    assert np.abs(integers).max() >= INT32_MAX


@pytest.mark.parametrize("kind", ["Conv", "Gemm"])
def test_outputs_move_by_next_to_nothing(kind):
    model = layer(kind)
    before = model.SerializeToString()
    feed = {"x": batch_for(model)}
    moved = np.abs(run(with_channel_floor(model, SPANS), feed)[0] - run(model, feed)[0])
    bound = 3.1e-5 * np.abs(BIAS).reshape((1, -1) + (1,) * (moved.ndim - 2)) + 1e-6
    assert (moved <= bound).all()
    assert model.SerializeToString() == before, "the argument was changed"


def test_twice_is_as_once():
    once = with_channel_floor(layer(), SPANS)
    assert once != layer()
    assert with_channel_floor(once, SPANS).SerializeToString() == once.SerializeToString()


def test_live_channels_and_layers_without_a_range_are_left_alone(exported):
    assert with_channel_floor(layer(), {}) == layer()
    model = exported(TINY, 32, 18)[2]
    spans = {node.input[0]: SPANS["x"] for node in model.graph.node}
    assert with_channel_floor(model, spans) == model
