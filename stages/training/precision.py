"""Whether bfloat16 is worth its name: only on devices that compute in it."""

import torch


def emulates_bfloat16() -> bool:
    """Whether bfloat16 would be slower here than float32: an x86 CPU without instructions for it.

    EfficientNet-Lite0 trains seven times slower in it on an AVX2 CPU (docs/training.md).
    """
    if torch.accelerator.is_available():
        return False
    told = torch.cpu.get_capabilities()
    return told["architecture"] == "x86_64" and not (told["avx512_bf16"] or told["amx_bf16"])
