import copy
import platform

import numpy as np
import pytest
import torch
from synthetic import LITE0, TINY, logits_of, model_params, random_batch, random_model
from torch import nn

from stages.measurement.preflight import cpu_fields
from stages.training.precision import emulates_bfloat16, keep_depthwise_float32


@pytest.mark.parametrize(("capabilities", "accelerator", "emulated"), [
    ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}, False, True),
    ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}, True, False),
    ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, False, False),
    ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, False, False),
    ({"architecture": "aarch64"}, False, False)])
def test_where_bfloat16_is_emulated(monkeypatch, capabilities, accelerator, emulated):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator)
    assert emulates_bfloat16() is emulated


def test_the_real_cpu_is_told_by_what_the_kernel_lists():
    listed = cpu_fields().get("flags", "").split()
    if platform.machine() != "x86_64" or not listed or torch.accelerator.is_available():
        pytest.skip("not an x86 CPU of which the kernel tells")
    assert emulates_bfloat16() is not bool({"avx512_bf16", "amx_bf16"} & set(listed))


def is_depthwise(module):
    return module.groups == module.in_channels > 1


def convolutions(model):
    return {name: module for name, module in model.named_modules()
            if isinstance(module, nn.Conv2d)}


@pytest.mark.parametrize("name", [TINY, LITE0])
def test_under_autocast_just_depthwise_convolutions_stay_float32(name):
    model = random_model(model_params(name))
    keep_depthwise_float32(model)
    types = {}
    for where, module in convolutions(model).items():
        module.register_forward_hook(
            lambda module, args, output, where=where: types.update({where: output.dtype}))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.from_numpy(random_batch(1, 32)))
    expected = {where: torch.float32 if is_depthwise(module) else torch.bfloat16
                for where, module in convolutions(model).items()}
    assert types == expected
    assert set(expected.values()) == {torch.float32, torch.bfloat16}
    assert logits.dtype == torch.bfloat16


def test_without_autocast_nothing_changes():
    model, changed = random_model(model_params()), random_model(model_params())
    keep_depthwise_float32(changed)
    batch = random_batch(2, 32)
    np.testing.assert_array_equal(logits_of(changed, batch), logits_of(model, batch))


@pytest.mark.parametrize(("channels", "groups", "kept"), [
    ((8, 8), 8, True), ((8, 16), 8, True), ((8, 8), 4, False), ((8, 8), 1, False),
    ((1, 8), 1, False)])
def test_what_counts_as_depthwise(channels, groups, kept):
    model = nn.Sequential(nn.Conv2d(*channels, 3, groups=groups))
    keep_depthwise_float32(model)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(torch.ones(1, channels[0], 8, 8, dtype=torch.bfloat16))
    assert output.dtype == (torch.float32 if kept else torch.bfloat16)


def test_state_dict_is_unaffected():
    model = random_model(model_params())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    keep_depthwise_float32(model)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    random_model(model_params()).load_state_dict(after)


def test_a_deep_copy_uses_its_own_weights():
    model = random_model(model_params())
    keep_depthwise_float32(model)
    batch = random_batch(1, 32)
    expected = logits_of(model, batch)
    twin = copy.deepcopy(model)
    np.testing.assert_array_equal(logits_of(twin, batch), expected)
    for module in convolutions(twin).values():
        if is_depthwise(module):
            nn.init.zeros_(module.weight)
    assert (logits_of(twin, batch) != expected).any()
    np.testing.assert_array_equal(logits_of(model, batch), expected)


def test_gradients_reach_every_weight_in_float32():
    model = random_model(model_params())
    keep_depthwise_float32(model)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(torch.from_numpy(random_batch(2, 32))).float().square().sum()
    loss.backward()
    for module in convolutions(model).values():
        assert module.weight.grad.dtype == torch.float32
        assert module.weight.grad.any()
