"""Swapping a model's smooth activations for ones that cost nothing once quantized.

SiLU becomes Sigmoid and Mul in ONNX, each with ranges of its own. ReLU6 is part of the
convolution before it. Hard swish, linear outside a small range, is HardSigmoid and Mul, of which
the quantizer knows the second alone.
Source: A. Howard et al., Searching for MobileNetV3, 2019 (hard swish in place of SiLU).
"""

import logging

from timm.layers import GELU, GELUTanh, QuickGELU
from torch import nn

log = logging.getLogger(__name__)

# timm has classes of its own for GELU.
SMOOTH = (nn.SiLU, nn.GELU, GELU, GELUTanh, QuickGELU, nn.Mish)
BY_NAME = {"relu6": nn.ReLU6, "hardswish": nn.Hardswish}


def swap_activations(model: nn.Module, name: str) -> int:
    """Replace every smooth activation of `model`, in place, by `name`; the number replaced.

    Gates (sigmoid, hard sigmoid) and activations that are ReLUs already stay.
    """
    if name == "keep":
        return 0
    found = [(parent, key, child) for parent in model.modules()
             for key, child in parent.named_children() if isinstance(child, SMOOTH)]
    for parent, key, child in found:
        # In place where the old one was: elsewhere what it reads is still needed.
        setattr(parent, key, BY_NAME[name](inplace=getattr(child, "inplace", False)))
    if not found:
        log.warning("model.activation=%s: this model has no smooth activation to replace", name)
    return len(found)
