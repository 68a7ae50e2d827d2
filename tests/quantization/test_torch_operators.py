import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from stages.onnx_graph.attributes import attributes
from stages.quantization.torch_operators import OPERATORS, not_tunable


def conv_over(*kernel, **options):
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=kernel, **options)
    return onnx.helper.make_model(onnx.helper.make_graph([node], "one", [], []))


def test_convolution_over_one_side_is_not_known():
    assert not_tunable(conv_over(3, 3)) == []
    assert not_tunable(conv_over(3)) == ["Conv or MaxPool over 1 sides"]


def test_convolution_whose_padding_is_not_in_numbers_is_not_known():
    assert not_tunable(conv_over(3, 3, auto_pad="NOTSET")) == []
    assert not_tunable(conv_over(3, 3, auto_pad="SAME_UPPER")) == [
        "Conv or MaxPool of auto_pad SAME_UPPER"]


@pytest.mark.parametrize(("options", "side"), [
    ({"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, 8),
    ({"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, 7),
    ({"kernel_shape": [3, 3], "pads": [0, 0, 1, 1], "dilations": [2, 2]}, 9)])
def test_max_pool_is_that_of_onnx(options, side):
    same_as_onnx("MaxPool", options, [(2, 3, side, side)])


@pytest.mark.parametrize("options", [{}, {"alpha": 1 / 6, "beta": 0.4}])
def test_hard_sigmoid_is_that_of_onnx(options):
    same_as_onnx("HardSigmoid", options, [(2, 3, 4, 4)])


def test_concat_is_that_of_onnx():
    same_as_onnx("Concat", {"axis": 1}, [(2, 3, 4, 4), (2, 5, 4, 4)])


def same_as_onnx(operator, options, shapes):
    """Our `operator` of random inputs is ONNX's own reference's."""
    rng = np.random.default_rng(0)
    inputs = {f"x{index}": (4 * rng.normal(size=shape)).astype(np.float32) - 2
              for index, shape in enumerate(shapes)}
    node = onnx.helper.make_node(operator, list(inputs), ["y"], **options)
    expected = ReferenceEvaluator(node).run(None, inputs)[0]
    found = OPERATORS[operator]([torch.from_numpy(value) for value in inputs.values()],
                                attributes(node))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)
