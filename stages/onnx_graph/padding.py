"""TensorFlow "same" padding, made a constant for one picture size.

timm's `tf_*` models compute their padding from the picture at run time. For a fixed size it is a
constant, which an ONNX Conv or MaxPool holds in its `pads`, and no operator is left between them.
"""

import torch
from timm.layers import Conv2dSame
from timm.layers.padding import get_same_padding
from timm.layers.pool2d_same import MaxPool2dSame
from torch import nn


def fix_same_padding(model: nn.Module, image_size: int) -> None:
    """Replace every `Conv2dSame` and `MaxPool2dSame` of `model`, in place, by a padding and a plain
    convolution or pooling.

    The replaced model is equal for pictures of `image_size` pixels only.
    """
    names = {module: name for name, module in model.named_modules()
             if isinstance(module, Conv2dSame | MaxPool2dSame)}
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


def _padded(same: Conv2dSame | MaxPool2dSame, size: torch.Size) -> nn.Sequential:
    top_bottom, left_right = (
        (total // 2, total - total // 2)
        for total in (get_same_padding(side, kernel, stride, dilation) for
                      side, kernel, stride, dilation in
                      zip(size, same.kernel_size, same.stride, same.dilation, strict=True)))
    if isinstance(same, MaxPool2dSame):
        outside = -torch.inf
        plain = nn.MaxPool2d(same.kernel_size, same.stride, 0, same.dilation,
                             ceil_mode=same.ceil_mode)
    else:
        outside = 0.0
        plain = nn.Conv2d(same.in_channels, same.out_channels, same.kernel_size, same.stride, 0,
                          same.dilation, same.groups, same.bias is not None)
        plain.load_state_dict(same.state_dict())
    return nn.Sequential(nn.ConstantPad2d((*left_right, *top_bottom), outside), plain).eval()
