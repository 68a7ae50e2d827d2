import numpy as np
import pytest
import torch
from synthetic import LITE0, logits_of, model_params, random_batch, random_model
from timm.layers import Conv2dSame
from timm.layers.pool2d_same import MaxPool2dSame
from torch import nn

from stages.onnx_graph.padding import fix_same_padding


def same_convolutions(model):
    return [name for name, module in model.named_modules() if isinstance(module, Conv2dSame)]


@pytest.mark.parametrize("size", [32, 33, 45, 64, 71])
def test_a_fixed_model_equals_the_original(size):
    model = random_model(model_params(LITE0, size))
    fixed = random_model(model_params(LITE0, size))
    assert same_convolutions(fixed)
    fix_same_padding(fixed, size)
    assert not same_convolutions(fixed)
    batch = random_batch(2, size)
    np.testing.assert_allclose(logits_of(fixed, batch), logits_of(model, batch), atol=1e-4)


@pytest.mark.parametrize("kernel", [1, 2, 3, (1, 5), (4, 3)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize(("size", "groups", "bias"), [(11, 1, True), (12, 4, False)])
def test_one_convolution_of_any_shape(kernel, stride, dilation, size, groups, bias):
    torch.manual_seed(0)
    conv = Conv2dSame(4, 8, kernel, stride, dilation=dilation, groups=groups, bias=bias)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), conv, nn.AdaptiveAvgPool2d(3))
    batch = random_batch(2, size)
    expected = logits_of(model, batch)
    fix_same_padding(model, size)
    np.testing.assert_allclose(logits_of(model, batch), expected, atol=1e-5)
    assert type(model[1]) is nn.Sequential


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (2, 2, 1), (3, 1, 2)])
@pytest.mark.parametrize("size", [11, 12])
def test_pooling_by_the_largest_is_padded_by_less_than_any_value(kernel, stride, dilation, size):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), MaxPool2dSame(kernel, stride, dilation=dilation))
    batch = random_batch(2, size) - 100  # zeros would be the largest
    expected = logits_of(model, batch)
    fix_same_padding(model, size)
    np.testing.assert_array_equal(logits_of(model, batch), expected)
    assert type(model[1]) is nn.Sequential


def test_padding_is_fixed_for_one_size_only():
    """A stride of 2 pads even sizes by one pixel and odd sizes by two: 64 and 65 differ."""
    model, fixed = (random_model(model_params(LITE0, 64)) for _ in range(2))
    fix_same_padding(fixed, 64)
    batch = random_batch(1, 65)
    assert np.abs(logits_of(fixed, batch) - logits_of(model, batch)).max() > 1e-3


def test_a_model_without_such_convolutions_is_left_alone():
    model = random_model(model_params("test_resnet"))
    before = [id(module) for module in model.modules()]
    fix_same_padding(model, 32)
    assert [id(module) for module in model.modules()] == before
