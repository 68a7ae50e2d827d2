"""TensorFlow "same" padding, made a constant for one picture size.

timm's `tf_*` models compute their padding from the picture at run time. For a fixed size it is a
constant, which an ONNX Conv holds in its `pads`, and no operator is left between convolutions.
"""

import torch
from timm.layers import Conv2dSame
from timm.layers.padding import get_same_padding
from torch import nn


def fix_same_padding(model: nn.Module, image_size: int) -> None:
    """Replace every `Conv2dSame` of `model`, in place, by a padding and a plain convolution.

    The replaced model is equal for pictures of `image_size` pixels only.
    """
    names = {module: name for name, module in model.named_modules()
             if isinstance(module, Conv2dSame)}
    sizes: dict[nn.Module, torch.Size] = {}
    hooks = [module.register_forward_pre_hook(
        lambda module, args: sizes.__setitem__(module, args[0].shape[-2:])) for module in names]
    with torch.no_grad():
        model(torch.zeros(1, 3, image_size, image_size))
    for hook in hooks:
        hook.remove()
    for module, name in names.items():
        if module in sizes:
            model.set_submodule(name, _padded(module, sizes[module]))


def _padded(conv: Conv2dSame, size: torch.Size) -> nn.Sequential:
    top_bottom, left_right = (
        (total // 2, total - total // 2)
        for total in (get_same_padding(side, kernel, stride, dilation) for
                      side, kernel, stride, dilation in
                      zip(size, conv.kernel_size, conv.stride, conv.dilation, strict=True)))
    plain = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, 0,
                      conv.dilation, conv.groups, conv.bias is not None)
    plain.load_state_dict(conv.state_dict())
    return nn.Sequential(nn.ZeroPad2d((*left_right, *top_bottom)), plain).eval()
