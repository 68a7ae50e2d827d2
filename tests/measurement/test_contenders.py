import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from omegaconf import OmegaConf
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from refusals import refusal
from synthetic import CLASSES, TINY, model_params, random_batch, random_model
from tiny_model import SIDE, write_body

from stages.config.errors import UserError
from stages.config.schema import Params
from stages.inference.torch_predictor import load_torch
from stages.measurement import contenders as contenders_module
from stages.measurement.contenders import contenders
from stages.model.checkpoint import save_checkpoint

CPU = "CPUExecutionProvider"


@pytest.fixture
def params(tmp_path, monkeypatch):
    """Parameters of a folder with a checkpoint and a small ONNX model."""
    monkeypatch.chdir(tmp_path)
    section = model_params(TINY, SIDE)
    save_checkpoint(tmp_path / "models" / "checkpoint.pt", random_model(section), section, CLASSES)
    write_body(tmp_path, "float").rename("models/onnx_fp32.onnx")
    params = OmegaConf.structured(Params())
    params.model = section
    params.variants = {"torch_fp32": "models/checkpoint.pt", "onnx_fp32": "models/onnx_fp32.onnx"}
    params.benchmark.update({"providers": [CPU], "torch_modes": ["eager"]})
    return params


def test_variants_come_first_and_baselines_after_them(params):
    found = contenders(params)
    assert list(found) == ["torch_fp32", "onnx_fp32", "torch_eager"]
    assert [each.streams for each in found.values()] == [False, True, False]
    batch = random_batch(2, SIDE)
    logits = {name: contender.load(1)(batch) for name, contender in found.items()}
    assert {each.shape for each in logits.values()} == {(2, len(CLASSES))}
    np.testing.assert_allclose(logits["torch_eager"], logits["torch_fp32"], atol=1e-5)


def test_contenders_can_go_to_another_process(params):
    batch = random_batch(2, SIDE)
    for contender in contenders(params).values():
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(contender)).load(1)(batch),
                                      contender.load(1)(batch))


@pytest.fixture
def npu(params, monkeypatch):
    """A second provider; npu.refuse(name, ...) has it refuse the models of these names."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU, "FastProvider",
                                                                         "NPUExecutionProvider"])
    params.benchmark.providers = [CPU, "NPUExecutionProvider"]
    params.variants.int8 = "models/int8.onnx"
    shutil.copy("models/onnx_fp32.onnx", "models/int8.onnx")

    def refuse(*names, when="opened"):
        original = contenders_module.open_session

        def open_session(path, threads=None, provider=CPU):
            if provider != CPU and path.stem in names:
                return names_refused(path)
            return original(path, threads)

        def names_refused(path):
            if when == "opened":
                raise UserError(f"{path}: refused\nwith more lines")
            session = original(path)
            return SimpleNamespace(get_inputs=session.get_inputs, run=fails)

        def fails(*arguments):
            raise ort_errors.EPFail("refused")

        monkeypatch.setattr(contenders_module, "open_session", open_session)
    return SimpleNamespace(refuse=refuse)


def test_each_further_provider_adds_the_onnx_variants(params, npu):
    npu.refuse()
    assert list(contenders(params)) == ["torch_fp32", "onnx_fp32", "int8", "onnx_fp32@NPU",
                                        "int8@NPU", "torch_eager"]


@pytest.mark.parametrize(("when", "told"), [
    ("opened", "models/int8.onnx: refused"),
    ("run", "an ONNX model can't run on pictures of shape (1, 3, 16, 16) (refused); is it of the "
            "present model.image_size, and is there memory for it?")])
def test_a_variant_that_a_further_provider_refuses_is_left_out_and_told(params, npu, caplog, when,
                                                                        told):
    npu.refuse("int8", when=when)
    assert list(contenders(params)) == ["torch_fp32", "onnx_fp32", "int8", "onnx_fp32@NPU",
                                        "torch_eager"]
    assert caplog.messages == [f"int8 is not timed on NPUExecutionProvider: {told}"]


def test_a_provider_that_refuses_every_variant_is_an_error(params, npu):
    npu.refuse("int8", "onnx_fp32")
    assert refusal(contenders, params) == (
        "benchmark.providers: NPUExecutionProvider can run no variant; the first says: "
        "models/onnx_fp32.onnx: refused")


def test_accuracy_and_speed_are_of_one_provider(params, npu):
    params.benchmark.providers = ["NPUExecutionProvider", CPU]
    assert refusal(contenders, params) == (
        "benchmark.providers: the first is NPUExecutionProvider, and must be "
        "CPUExecutionProvider, which accuracy and selection are of; name others behind it")


def test_absent_provider_is_refused_with_those_installed(params):
    params.benchmark.providers = [CPU, "NoSuchExecutionProvider"]
    assert refusal(contenders, params) == (
        "benchmark.providers: NoSuchExecutionProvider is not installed; installed are "
        f"{', '.join(onnxruntime.get_available_providers())}")


def test_compiling_needs_a_compiler(params, monkeypatch):
    params.benchmark.torch_modes = ["eager", "compile"]
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert list(contenders(params))[-1] == "torch_compile"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "needs a C++ compiler" in refusal(contenders, params)


@pytest.mark.parametrize(("mode", "channels_last"), [("eager", False), ("channels_last", True)])
def test_memory_layout_of_a_mode(params, monkeypatch, mode, channels_last):
    seen = []
    monkeypatch.setattr(torch.nn.Conv2d, "forward", lambda self, batch: seen.append(
        batch.is_contiguous(memory_format=torch.channels_last)) or torch.nn.functional.conv2d(
            batch, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups))
    load_torch(Path("models/checkpoint.pt"), params.model, mode)(random_batch(1, SIDE))
    assert seen[0] is channels_last
