"""Depthwise convolutions that train fast on a CPU.

For the gradient of depthwise weights oneDNN has a fast kernel where they are up to three columns
wide and float32; wider ones (EfficientNet has many of 5 by 5) take several times as long, and
longer yet in bfloat16 (docs/training.md). So it is found here three columns at a time, in float32.
"""

from typing import Any

import torch
from torch.nn.functional import pad
from torch.overrides import TorchFunctionMode

COLUMNS = 3

Pair = tuple[int, int]


class FastDepthwise(TorchFunctionMode):
    """Within it, depthwise `torch.conv2d` on a CPU has the backward pass of this module.

    Outputs are PyTorch's; gradients are, but for the order of sums, those of float32, under
    autocast too.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (),
                           kwargs: dict | None = None) -> Any:
        if func is torch.conv2d and not kwargs and len(args) == 7:
            x, weight, _, *geometry, groups = args
            if (x.device.type == "cpu" and weight.dtype == torch.float32
                    and 1 < groups == weight.shape[0] == x.shape[1]
                    and weight.requires_grad and torch.is_grad_enabled()
                    and all(isinstance(pair, tuple) for pair in geometry)):
                return _Depthwise.apply(*args)
        return func(*args, **(kwargs or {}))


class _Depthwise(torch.autograd.Function):

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None,
                stride: Pair, padding: Pair, dilation: Pair, groups: int) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = stride, padding, dilation
        return torch.conv2d(x, weight, bias, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple:
        x, weight = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        gradient = gradient.float()
        if ctx.needs_input_grad[0]:
            of_x, _ = _gradients(gradient, x.float(), weight, *ctx.geometry, (True, False))
            of_x = of_x.to(x.dtype)
        if ctx.needs_input_grad[1]:
            of_weight = weight_gradient(gradient, x.float(), weight, *ctx.geometry)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_x, of_weight, of_bias, None, None, None, None


def weight_gradient(gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: Pair,
                    padding: Pair, dilation: Pair) -> torch.Tensor:
    """The gradient of depthwise weights, COLUMNS of them at a time.

    Args:
        gradient: of the convolution's output, float32, shape (B, C, H', W').
        x: the convolution's input, float32, shape (B, C, H, W).
        weight: float32, shape (C, 1, height, width).

    Returns:
        float32, of the shape of `weight`.
    """
    if weight.shape[3] <= COLUMNS:
        return _gradients(gradient, x, weight, stride, padding, dilation, (False, True))[1]
    result = torch.empty_like(weight)
    for start in range(0, weight.shape[3], COLUMNS):
        first = min(start, weight.shape[3] - COLUMNS)
        part = result[..., first:first + COLUMNS]
        # What these columns meet of the input, padding included; pad begins with the last axis.
        margins = []
        for axis, offset in ((1, first), (0, 0)):
            before = padding[axis] - offset * dilation[axis]
            extent = ((gradient.shape[2 + axis] - 1) * stride[axis]
                      + (part.shape[2 + axis] - 1) * dilation[axis] + 1)
            margins += [before, extent - before - x.shape[2 + axis]]
        part.copy_(_gradients(gradient, pad(x, margins), part, stride, (0, 0), dilation,
                              (False, True))[1])
    return result


def _gradients(gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: Pair,
               padding: Pair, dilation: Pair, wanted: tuple[bool, bool]
               ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """PyTorch's gradients of a depthwise convolution's input and weights, those that are wanted."""
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, dilation, False, (0, 0), x.shape[1],
        (*wanted, False))[:2]
