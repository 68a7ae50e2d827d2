import pytest
import torch
from synthetic import LITE0, TINY, model_params, random_batch, random_model
from torch import nn

from stages.training import depthwise
from stages.training.depthwise import FastDepthwise

CHANNELS = 6


def convolution(kernel=(5, 5), stride=(1, 1), padding=(2, 2), dilation=(1, 1), **other):
    torch.manual_seed(0)
    return nn.Conv2d(CHANNELS, CHANNELS, kernel, stride, padding, dilation, CHANNELS, **other)


def gradients(module, x, *, fast, autocast=False):
    """The output, and the gradients of the input and of every parameter."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        if fast:
            with FastDepthwise():
                output = module(x)
        else:
            output = module(x)
    torch.manual_seed(1)
    weights = torch.randn(output.shape, dtype=output.dtype)
    return output.detach(), torch.autograd.grad(output, [x, *module.parameters()], weights)


def picture(height=9, width=8, count=3):
    torch.manual_seed(2)
    return torch.randn(count, CHANNELS, height, width).contiguous(
        memory_format=torch.channels_last)


@pytest.fixture
def calls(monkeypatch):
    """The shapes of the weights whose gradient was found by this module."""
    found, real = [], depthwise.weight_gradient

    def counted(gradient, x, weight, *geometry):
        found.append(tuple(weight.shape))
        return real(gradient, x, weight, *geometry)

    monkeypatch.setattr(depthwise, "weight_gradient", counted)
    return found


@pytest.mark.parametrize(("options", "size"), [
    ({}, (9, 8)), ({}, (2, 2)), ({"stride": (2, 2)}, (9, 8)),
    ({"stride": (2, 2), "padding": (0, 0)}, (12, 13)), ({"kernel": (3, 3)}, (9, 8)),
    ({"kernel": (3, 3), "stride": (2, 1), "padding": (1, 1)}, (9, 8)),
    ({"kernel": (7, 7), "padding": (3, 3)}, (9, 8)),
    ({"kernel": (3, 5), "stride": (2, 1), "padding": (1, 4), "dilation": (2, 2)}, (9, 8)),
    ({"kernel": (1, 4), "stride": (1, 3), "padding": (0, 0)}, (9, 8)),
    ({"kernel": (11, 9), "padding": (5, 4)}, (9, 8)), ({"bias": False}, (9, 8))])
def test_gradients_are_those_of_pytorch(calls, options, size):
    module, x = convolution(**options), picture(*size)
    expected_output, expected = gradients(module, x, fast=False)
    output, found = gradients(module, x, fast=True)
    assert calls == [tuple(module.weight.shape)]
    assert torch.equal(output, expected_output)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_contiguous_pictures_give_the_same():
    module, x = convolution(), picture()
    _, expected = gradients(module, x, fast=True)
    _, found = gradients(module, x.contiguous(), fast=True)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_under_autocast_the_output_is_bfloat16_and_the_gradients_float32(calls):
    module, x = convolution(), picture()
    _, expected = gradients(module, x, fast=False)
    output, found = gradients(module, x, fast=True, autocast=True)
    assert calls
    assert output.dtype == torch.bfloat16
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.01 * theirs.norm()


@pytest.mark.parametrize("change", [
    lambda module: module.double(), lambda module: module.requires_grad_(False),
    lambda module: setattr(module, "padding", "same")],
    ids=["double", "frozen", "padding by name"])
def test_left_to_pytorch(calls, change):
    module = convolution()
    change(module)
    with FastDepthwise():
        output = module(picture().to(module.weight.dtype).requires_grad_())
    output.sum().backward()
    assert not calls


@pytest.mark.parametrize(("channels", "groups"), [((8, 16), 8), ((8, 8), 4), ((8, 8), 1)])
def test_other_convolutions_are_left_to_pytorch(calls, channels, groups):
    module = nn.Conv2d(*channels, 3, groups=groups)
    with FastDepthwise():
        module(torch.ones(1, channels[0], 8, 8)).sum().backward()
    assert not calls


def test_without_gradients_nothing_is_kept(calls):
    with FastDepthwise(), torch.no_grad():
        assert not convolution()(picture()).requires_grad


@pytest.mark.parametrize("name", [TINY, LITE0])
@pytest.mark.parametrize("autocast", [False, True])
def test_every_depthwise_layer_of_a_network(calls, name, autocast):
    model = random_model(model_params(name)).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast), FastDepthwise():
        loss = model(torch.from_numpy(random_batch(2, 32))).float().square().sum()
    loss.backward()
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert sorted(calls) == sorted(tuple(layer.weight.shape) for layer in layers
                                   if layer.groups == layer.in_channels > 1)
    for layer in layers:
        assert layer.weight.grad.dtype == torch.float32
        assert layer.weight.grad.any()
