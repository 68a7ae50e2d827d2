"""Classifiers of other families go through export, preparation and INT8, or say why not.

The larger ones are slow: `python -m pytest -m slow tests/test_architectures.py`.
"""

import numpy as np
import onnx
import pytest
import torch
from paths import ROOT
from refusals import refusal
from run_onnx import run
from static_model import quantize_statically
from synthetic import logits_of, make_dataset, model_params, random_batch, recipe

from stages.config.params import PARAMS_FILE, load_params
from stages.config.schema import QatRecipe
from stages.inference.predictor import model_input
from stages.measurement.noise import signal_to_noise_db
from stages.model.build import build_model
from stages.onnx_graph.audit import float_nodes
from stages.onnx_graph.census import executed_graph, operator_counts, quantized_and_float
from stages.onnx_graph.clean import clean
from stages.onnx_graph.names import INPUT
from stages.quantization.variant import write_variant

SIDE = 32
# The power of what INT8 changes in the logits is below a hundredth of theirs; transformers lose
# more (seen: test_vit 11 dB, resnet18 30, test_convnext 29, mobilenet_v3_small 46).
LEAST_SNR_DB = {"vit": 8.0, "": 20.0}

# The patch convolutions, seen with ONNX Runtime 1.32; the audit says that there is no kernel.
IN_FLOAT = {("test_convnext", 13): ["/stem/stem.0/Conv", *(
    f"/stages/stages.{stage}/downsample/downsample.1/Conv" for stage in (1, 2, 3))]}

LIGHT = {("resnet18", 13), ("mobilenet_v3_small", 13), ("test_convnext", 13),
         ("test_convnext", 18), ("test_vit", 18)}
MODELS = [("torchvision", "resnet18"), ("torchvision", "mobilenet_v3_small"),
          ("timm", "test_convnext"), ("timm", "test_vit"), ("torchvision", "efficientnet_b0"),
          ("torchvision", "efficientnet_b3"), ("torchvision", "mobilenet_v3_large"),
          ("timm", "convnext_atto"), ("timm", "vit_tiny_patch16_224")]


def of_cases(light):
    """Of all MODELS at both opsets; those that are not in `light` are slow.

    Attention can't be exported at opset 13; tests/onnx_graph/test_export.py has the message.
    """
    return pytest.mark.parametrize(("library", "name", "opset"), [
        pytest.param(library, name, opset, id=f"{name}-{opset}",
                     marks=() if (name, opset) in light else pytest.mark.slow)
        for library, name in MODELS for opset in (13, 18) if not ("vit" in name and opset == 13)])


def logits(model, batch):
    return run(model, {INPUT: batch})[0]


def least_snr_db(name):
    return next(value for family, value in LEAST_SNR_DB.items() if family in name)


@of_cases(LIGHT)
def test_prepared_graph_says_what_pytorch_says_and_is_prepared_once(exported, library, name, opset):
    model, _, proto = exported(name, SIDE, opset, library)
    for count in (1, 3):
        batch = random_batch(count, SIDE, seed=count)
        expected = logits_of(model, batch)
        assert np.ptp(expected) > 0.1 * np.abs(expected).max(), "classes that are all alike"
        np.testing.assert_allclose(logits(proto, batch), expected,
                                   atol=1e-4 * np.abs(expected).max())
    once = clean(proto)
    assert clean(once).SerializeToString() == once.SerializeToString()
    assert "BatchNormalization" not in operator_counts(once)


@of_cases(LIGHT)
def test_static_int8_stays_close_and_the_audit_says_what_stayed_float(exported, tmp_path, library,
                                                                      name, opset):
    _, params, proto = exported(name, SIDE, opset, library)
    source, target = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    onnx.save(proto, source)
    dataset = make_dataset(40)
    quantize_statically(source, target, recipe(), params, dataset.view("train")[:])
    batch = model_input(dataset.view("validation")[:], params)
    assert signal_to_noise_db(logits(source, batch), logits(target, batch)) > least_snr_db(name)
    executed = executed_graph(target)
    quantized, in_float = quantized_and_float(operator_counts(executed))
    weighted = sum(node.op_type in ("Conv", "Gemm", "MatMul") for node in proto.graph.node)
    assert quantized >= weighted
    told = float_nodes(executed)
    assert len(told) == in_float
    assert all(entry["reason"] for entry in told)
    in_float = [entry["name"] for entry in told
                if entry["operator"] in {"Conv", "FusedConv", "Gemm", "MaxPool"}]
    assert in_float == IN_FLOAT.get((name, opset), [])


@of_cases(LIGHT - {("resnet18", 13), ("test_convnext", 13)})
def test_int8_static_as_it_is_shipped_is_no_further_off(exported, tmp_path, library, name, opset):
    """Equalized, rounded adaptively, flat tails cut; computed in float, so that CPUs agree."""
    _, params, proto = exported(name, SIDE, opset, library)
    source, target = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    onnx.save(proto, source)
    dataset = make_dataset(80)
    batch = model_input(dataset.view("validation")[:], params)
    shipped = load_params("quantize.variants.int8_static", path=ROOT / PARAMS_FILE)
    snr = {}
    for kind, made_by in (("plain", recipe()),
                          ("shipped", shipped.quantize.variants["int8_static"])):
        write_variant(source, target, made_by, params, dataset, 100.0)
        rounded = run(target, {INPUT: batch}, fused=False)[0]
        snr[kind] = signal_to_noise_db(logits(source, batch), rounded)
    assert snr["shipped"] > max(snr["plain"] - 2, least_snr_db(name)), snr


@pytest.mark.parametrize(("library", "name", "opset"), [
    ("torchvision", "resnet18", 13), ("torchvision", "mobilenet_v3_small", 13)])
def test_convolutional_families_are_fine_tuned(exported, tmp_path, library, name, opset):
    _, params, proto = exported(name, SIDE, opset, library)
    source, target = tmp_path / "float.onnx", tmp_path / "tuned.onnx"
    onnx.save(proto, source)
    dataset = make_dataset(80)
    record = write_variant(source, target, recipe(qat=QatRecipe(8, 16, 1e-3, 0)), params, dataset,
                           100.0)
    assert record.qat["last_loss"] < record.qat["first_loss"]


def test_a_family_that_can_not_be_fine_tuned_is_quantized_as_it_is(exported, tmp_path, caplog):
    _, params, proto = exported("test_convnext", SIDE, 18, "timm")
    source, tuned, plain = (tmp_path / f"{name}.onnx" for name in ("float", "tuned", "plain"))
    onnx.save(proto, source)
    dataset = make_dataset(40)
    for qat, target in ((QatRecipe(2, 4, 1e-3, 0), tuned), (None, plain)):
        record = write_variant(source, target, recipe(qat=qat), params, dataset, 100.0)
        assert record.qat.get("kept", False) is False
    assert tuned.read_bytes() == plain.read_bytes()
    told = [message for message in caplog.messages if message.startswith("qat: operator")]
    assert len(told) == 1
    assert "LayerNormalization" in told[0]


@pytest.mark.slow
@pytest.mark.parametrize(("library", "name"), [("torchvision", "resnet18"),
                                               ("timm", "test_convnext")])
def test_mixed_precision_of_another_family(exported, tmp_path, library, name):
    _, params, proto = exported(name, SIDE, 18, library)
    source, target = tmp_path / "float.onnx", tmp_path / "mixed.onnx"
    onnx.save(proto, source)
    dataset = make_dataset(80)
    record = write_variant(source, target, recipe("mixed", max_drop_pp=0.0), params, dataset,
                           100.0).search
    assert record["steps"][-1]["drop_pp"] <= 0 or len(record["kept_in_float"]) == len(
        record["sensitivity"])
    batch = model_input(dataset.view("validation")[:], params)
    assert signal_to_noise_db(logits(source, batch), logits(target, batch)) > least_snr_db(name)


@pytest.mark.parametrize(("library", "name", "size"), [("timm", "test_vit", 48),
                                                       ("torchvision", "vit_b_16", 48)])
def test_transformer_is_built_for_the_size_asked_for(library, name, size):
    with torch.device("meta"):
        model = build_model(model_params(name, size, library=library), 3)
        assert model(torch.zeros(1, 3, size, size)).shape == (1, 3)


def test_size_that_a_transformer_cannot_be_built_for():
    message = refusal(build_model, model_params("vit_b_16", 20, library="torchvision"), 3)
    assert message.startswith("model.image_size: vit_b_16 can't be built for 20 pixels (")
