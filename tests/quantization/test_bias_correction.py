"""Bias correction against means taken by hand."""

import copy

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from run_onnx import model_of, run

from stages.onnx_graph.layers import arrays_of, weights_of
from stages.quantization.bias_correction import mean_errors, with_corrected_biases
from stages.quantization.stored_weights import dequantized_weights


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


CONV, HEAD, BIAS = normal(4, 3, 3, 3), normal(2, 4, seed=1), normal(4, seed=2)
PICTURES = normal(5, 3, 6, 6, seed=3) + 1


def chain(opset=18, conv_bias=True):
    """A convolution with a shared bias, a twin of it, a pool, and a head without a bias."""
    inputs = ["x", "w", "b"] if conv_bias else ["x", "w"]
    nodes = [helper.make_node("Conv", inputs, ["c"], pads=[1] * 4),
             helper.make_node("Conv", ["x", "w2", "b"], ["d"], pads=[1] * 4),
             helper.make_node("Add", ["c", "d"], ["s"]),
             helper.make_node("GlobalAveragePool", ["s"], ["p"]),
             helper.make_node("Flatten", ["p"], ["f"]),
             helper.make_node("Gemm", ["f", "h"], ["y"], transB=1)]
    return model_of(nodes, {"x": [None, 3, 6, 6]}, {"y": [None, 2]},
                    {"w": CONV, "w2": CONV[::-1].copy(), "b": BIAS, "h": HEAD}, opset)


def as_qdq(model, steps):
    """`model` with each weight stored in whole numbers of its step, by channel."""
    result = copy.deepcopy(model)
    for name, weights in weights_of(model).items():
        scale = np.full(len(weights), steps, dtype=np.float32)
        integers = np.clip(np.round(weights / steps), -127, 127).astype(np.int8)
        for array, end in ((integers, "quantized"), (scale, "scale"),
                           (np.zeros(len(weights), np.int8), "zero_point")):
            result.graph.initializer.append(numpy_helper.from_array(array, f"{name}_{end}"))
        result.graph.node.insert(0, helper.make_node(
            "DequantizeLinear", [f"{name}_{end}" for end in ("quantized", "scale", "zero_point")],
            [f"{name}_dequantized"], axis=0))
    for node in result.graph.node:
        for index, name in enumerate(node.input):
            if name in weights_of(model):
                node.input[index] = f"{name}_dequantized"
    return result


def tensors(model, *names):
    return run(model, {"x": PICTURES}, names)


def feeds(*sizes):
    return [{"x": part} for part in np.split(PICTURES, np.cumsum(sizes)[:-1])]


def test_dequantized_weights_are_whole_steps():
    found = dequantized_weights(as_qdq(chain(), 0.5))
    assert found.keys() == {"w", "w2", "h"}
    np.testing.assert_allclose(found["w"], np.round(CONV / 0.5) * 0.5)


def test_scales_of_a_whole_tensor_are_read_too():
    model = as_qdq(chain(), 0.5)
    for tensor in model.graph.initializer:
        if tensor.name.endswith(("_scale", "_zero_point")):
            array = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(array[0], tensor.name))
    np.testing.assert_allclose(dequantized_weights(model)["h"], np.round(HEAD / 0.5) * 0.5)


@pytest.mark.parametrize("opset", [13, 18])
def test_mean_error_is_that_of_the_layers_outputs(opset):
    model = chain(opset)
    quantized = as_qdq(model, 0.5)
    errors = mean_errors(model, dequantized_weights(quantized), feeds(5))
    expected = tensors(quantized, "c")[0] - tensors(model, "c")[0]
    np.testing.assert_allclose(errors["c"], expected.mean(axis=(0, 2, 3)), atol=1e-5)
    # The head gets the float model's input, not what the rounded layers before it make.
    head = tensors(model, "f")[0] @ (np.round(HEAD / 0.5) * 0.5 - HEAD).T
    np.testing.assert_allclose(errors["y"], head.mean(axis=0), atol=1e-5)


def test_error_of_a_layer_with_several_rows_a_picture_is_the_mean_over_them():
    """As the output projection of torchvision's attention: tokens of all pictures in one Gemm."""
    model = model_of([helper.make_node("Reshape", ["x", "shape"], ["r"]),
                      helper.make_node("Gemm", ["r", "w"], ["y"], transB=1)],
                     {"x": [None, 3, 6, 6]}, {"y": [None, 2]},
                     {"w": HEAD, "shape": np.array([-1, 4])})
    weights = np.round(HEAD / 0.5) * 0.5
    errors = mean_errors(model, {"w": weights}, feeds(2, 3))
    expected = PICTURES.reshape(-1, 4) @ (weights - HEAD).T
    np.testing.assert_allclose(errors["y"], expected.mean(axis=0), atol=1e-5)


def test_batches_of_any_size_weigh_by_their_pictures():
    rounded = dequantized_weights(as_qdq(chain(), 0.5))
    whole, parts = (mean_errors(chain(), rounded, feeds(*sizes)) for sizes in ((5,), (1, 4)))
    for name in whole:
        np.testing.assert_allclose(parts[name], whole[name], atol=1e-6)


@pytest.mark.parametrize("conv_bias", [True, False])
def test_corrected_outputs_have_the_mean_of_the_float_ones(conv_bias):
    model = chain(conv_bias=conv_bias)
    before = model.SerializeToString()
    corrected = with_corrected_biases(model, as_qdq(model, 0.5), feeds(2, 3))
    onnx.checker.check_model(corrected, full_check=True)
    assert model.SerializeToString() == before, "the argument was changed"
    expected, actual = (tensors(each, "c", "d") for each in (model, as_qdq(corrected, 0.5)))
    for reference, each in zip(expected, actual, strict=True):
        means = [values.mean(axis=(0, 2, 3)) for values in (reference, each)]
        np.testing.assert_allclose(means[1], means[0], atol=1e-5)


def test_the_factor_of_a_bias_is_taken_out_of_what_it_corrects():
    """A layer may have one though it has no bias yet."""
    model = chain()
    model.graph.node[-1].attribute.append(helper.make_attribute("beta", 0.5))
    corrected = with_corrected_biases(model, as_qdq(model, 0.5), feeds(5))
    head = tensors(model, "f")[0] @ (np.round(HEAD / 0.5) * 0.5 - HEAD).T
    bias = arrays_of(corrected)[corrected.graph.node[-1].input[2]]
    np.testing.assert_allclose(0.5 * bias, -head.mean(axis=0), atol=1e-5)


def test_weights_that_are_not_rounded_need_no_correction():
    model = chain()
    corrected = with_corrected_biases(model, model, feeds(5))
    np.testing.assert_array_equal(tensors(corrected, "y")[0], tensors(model, "y")[0])
