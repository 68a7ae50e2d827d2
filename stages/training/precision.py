"""bfloat16 where it wins: on devices that compute in it, and not in depthwise convolutions.

On a CPU the backward pass of a depthwise convolution is slower in bfloat16 than in float32, by
more than autocast gains there.
"""

from typing import Any

import torch
from torch import nn


class _Float32Forward:
    """Mixed into a module's class: run forward in float32 also under autocast."""

    def forward(self, x: torch.Tensor) -> Any:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def emulates_bfloat16() -> bool:
    """Whether bfloat16 would be slower here than float32: an x86 CPU without instructions for it.

    EfficientNet-Lite0 trains seven times slower in it on an AVX2 CPU (docs/training.md).
    """
    if torch.accelerator.is_available():
        return False
    told = torch.cpu.get_capabilities()
    return told["architecture"] == "x86_64" and not (told["avx512_bf16"] or told["amx_bf16"])


def keep_depthwise_float32(model: nn.Module) -> None:
    """Exempt the depthwise convolutions of `model` from autocast, in place."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels:
            cls = type(module)
            module.__class__ = type(cls.__name__, (_Float32Forward, cls), {})
