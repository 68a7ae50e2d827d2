import platform

import pytest
import torch

from stages.inference.cpu import cpu_fields
from stages.training.precision import emulates_bfloat16


@pytest.mark.parametrize(("capabilities", "accelerator", "emulated"), [
    ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}, False, True),
    ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}, True, False),
    ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, False, False),
    ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, False, False),
    ({"architecture": "arm64", "bf16": True}, False, False),
    ({"architecture": "arm64", "bf16": False}, False, True)])
def test_where_bfloat16_is_emulated(monkeypatch, capabilities, accelerator, emulated):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator)
    assert emulates_bfloat16() is emulated


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_is_asked_what_it_computes_in_itself(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported",
                        lambda including_emulation: including_emulation or native)
    assert emulates_bfloat16() is not native


def test_the_real_cpu_is_told_by_what_the_kernel_lists():
    listed = cpu_fields().get("flags", "").split()
    if platform.machine() != "x86_64" or not listed or torch.accelerator.is_available():
        pytest.skip("not an x86 CPU of which the kernel tells")
    assert emulates_bfloat16() is not bool({"avx512_bf16", "amx_bf16"} & set(listed))
