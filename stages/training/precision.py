"""Whether bfloat16 is worth its name: only on devices that compute in it."""

import torch


def emulates_bfloat16() -> bool:
    """Whether bfloat16 would be slower here than float32, for want of instructions for it.

    EfficientNet-Lite0 trains seven times slower in it on an AVX2 CPU (docs/training.md).
    """
    if torch.cuda.is_available():
        return not torch.cuda.is_bf16_supported(including_emulation=False)
    if torch.accelerator.is_available():
        return False
    return cpu_emulates_bfloat16()


def cpu_emulates_bfloat16() -> bool:
    """Whether this CPU has no instructions for bfloat16."""
    told = torch.cpu.get_capabilities()
    return not (told.get("avx512_bf16") or told.get("amx_bf16") or told.get("bf16"))
