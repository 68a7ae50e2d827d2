import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from paths import ROOT
from run_onnx import session_of
from synthetic import (
    CLASSES,
    LITE0,
    TINY,
    logits_of,
    model_params,
    random_batch,
    random_model,
)

from stages.config.errors import UserError
from stages.onnx_graph.census import operator_counts
from stages.onnx_graph.export import agrees, export_onnx, parity
from stages.onnx_graph.names import INPUT, OUTPUT

OPSETS = [13, 18]
MODELS = [(TINY, 32, "timm"), (LITE0, 32, "timm"), ("efficientnet_b0", 64, "torchvision")]

of_opsets = pytest.mark.parametrize("opset", OPSETS)
of_models = pytest.mark.parametrize(("name", "size", "library"), MODELS)


@of_opsets
@of_models
def test_says_what_pytorch_says_for_any_batch(exported, name, size, library, opset):
    model, _, proto = exported(name, size, opset, library)
    session = session_of(proto)
    for count in (1, 3):
        batch = random_batch(count, size, seed=count)
        logits, = session.run(None, {INPUT: batch})
        expected = logits_of(model, batch)
        assert np.ptp(expected) > 0.01, "logits that are all alike would prove nothing"
        np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())


@of_opsets
@of_models
def test_is_a_valid_graph_of_the_opset(exported, name, size, library, opset):
    _, _, proto = exported(name, size, opset, library)
    onnx.checker.check_model(proto, full_check=True)
    assert [(entry.domain, entry.version) for entry in proto.opset_import
            if entry.domain in ("", "ai.onnx")] == [("", opset)]


@pytest.mark.parametrize("opset", [17, 19, 20])
def test_opsets_between_and_the_last_are_valid_too(exported, opset):
    test_is_a_valid_graph_of_the_opset(exported, TINY, 32, "timm", opset)


@of_opsets
@of_models
def test_inputs_and_outputs(exported, name, size, library, opset):
    _, _, proto = exported(name, size, opset, library)
    (taken,), (given,) = proto.graph.input, proto.graph.output
    assert (taken.name, given.name) == (INPUT, OUTPUT)
    for value, expected in ((taken, [3, size, size]), (given, [len(CLASSES)])):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        batch, *rest = value.type.tensor_type.shape.dim
        assert batch.dim_param
        assert [dim.dim_value for dim in rest] == expected


@of_opsets
@of_models
def test_metadata_holds_classes_and_preprocessing(exported, name, size, library, opset):
    _, _, proto = exported(name, size, opset, library)
    held = {entry.key: entry.value for entry in proto.metadata_props}
    assert held.keys() == {"classes", "model", "image_size", "mean", "std"}
    assert json.loads(held["classes"]) == CLASSES
    assert (held["model"], json.loads(held["image_size"])) == (name, size)
    assert json.loads(held["mean"]) == [0.4, 0.5, 0.6]
    assert json.loads(held["std"]) == [0.2, 0.25, 0.3]


@of_opsets
@of_models
def test_bytes_hold_nothing_of_the_machine(exported, name, size, library, opset):
    _, _, proto = exported(name, size, opset, library)
    content = proto.SerializeToString()
    for trace in ("site-packages", "Traceback", "stack_trace", "torch/nn", f"{ROOT}/",
                  f"{Path.home()}/"):
        assert trace.encode() not in content
    assert not any(node.doc_string or node.metadata_props for node in proto.graph.node)


@of_opsets
def test_lite0_is_made_of_operators_that_can_be_quantized(exported, opset):
    counts = operator_counts(exported(LITE0, 32, opset)[2])
    flatten = counts.keys() & {"Reshape", "Flatten"}
    assert len(flatten) == 1
    assert counts.keys() - flatten == {"Conv", "Clip", "Add", "GlobalAveragePool", "Gemm"}
    assert counts["GlobalAveragePool"] == counts["Gemm"] == 1


@of_opsets
def test_b0_has_no_reduce_mean(exported, opset):
    counts = operator_counts(exported("efficientnet_b0", 64, opset, "torchvision")[2])
    assert counts["GlobalAveragePool"] == 17  # one for each of 16 squeezes and one at the end
    assert not counts.keys() & {"ReduceMean", "BatchNormalization", "Pad", "Identity", "Constant"}


@of_opsets
def test_two_exports_give_the_same_bytes(exported, opset):
    model, params, proto = exported(TINY, 32, opset)
    again = export_onnx(model, params, CLASSES, opset)
    assert again.SerializeToString() == proto.SerializeToString()


@of_opsets
def test_the_model_is_left_as_it_was(opset):
    params = model_params(LITE0 if opset == 13 else TINY)
    model = random_model(params).train()
    modules = [(name, type(module), module.training) for name, module in model.named_modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_onnx(model, params, CLASSES, opset)
    assert [(name, type(module), module.training)
            for name, module in model.named_modules()] == modules
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@of_opsets
def test_operator_that_the_opset_lacks(opset, capfd):
    """Attention came with opset 14."""
    params = model_params("test_vit", 160)
    if opset == 13:
        with pytest.raises(UserError) as caught:
            export_onnx(random_model(params), params, CLASSES, opset)
        assert "export.opset: test_vit can't be exported at opset 13" in str(caught.value)
        assert "scaled_dot_product_attention" in str(caught.value)
        assert "\n" not in str(caught.value)
        print("still there")
        assert capfd.readouterr().out == "still there\n"
    else:
        export_onnx(random_model(params), params, CLASSES, opset)


def test_parity_by_hand():
    expected = np.array([[1.0, 2.0], [3.0, 1.0], [0.0, 5.0], [2.0, 1.0]])
    actual = expected + np.array([[0, 0], [0, 2.5], [-0.5, 0], [0, 0]])
    assert parity(expected, actual) == {"images": 4, "max_abs_diff": 2.5, "argmax_agreement": 0.75}
    assert parity(expected, expected) == {"images": 4, "max_abs_diff": 0.0, "argmax_agreement": 1}


@pytest.mark.parametrize(("first", "second", "expected"), [
    ([[1, 2]], [[1, 2.01]], True), ([[1, 2]], [[1, 2.2]], False),
    ([[1, 1.01]], [[1.01, 1]], True), ([[np.nan, 2]], [[np.nan, 2]], False)],
    ids=["close", "far", "a near-tie", "no number"])
def test_agreement_needs_close_logits(first, second, expected):
    assert agrees(parity(np.array(first), np.array(second)), 0.1) is expected
