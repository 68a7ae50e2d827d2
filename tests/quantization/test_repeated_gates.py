"""Squeeze-excitation's gates as wide as a row: the same numbers, still in INT8."""

import numpy as np
import onnx
import pytest
from inverted_residual import WIDE, network
from quantized_network import logits, pictures, quantized

from stages.onnx_graph.audit import float_nodes
from stages.onnx_graph.census import executed_graph, operator_counts
from stages.quantization import repeated_gates
from stages.quantization.repeated_gates import with_repeated_gates

BLOCKS = 2


@pytest.fixture(scope="module", params=["SiLU", "Clip"])
def plain(request, tmp_path_factory):
    return quantized(network(request.param), tmp_path_factory.mktemp("gates"))


@pytest.mark.parametrize("count", [1, 3])
def test_logits_stay_as_they_were(plain, count):
    changed = with_repeated_gates(plain)
    onnx.checker.check_model(changed, full_check=True)
    assert changed != plain
    np.testing.assert_array_equal(logits(changed, pictures(count)),
                                  logits(plain, pictures(count)))


def test_each_gate_is_repeated_as_eight_bits_and_nothing_more_runs_in_float(plain):
    before, after = (executed_graph(model.SerializeToString())
                     for model in (plain, with_repeated_gates(plain)))
    assert operator_counts(after) == {**operator_counts(before), "Tile": BLOCKS}
    assert float_nodes(after) == float_nodes(before)
    kinds = {value.name: value.type.tensor_type.elem_type
             for value in onnx.shape_inference.infer_shapes(after).graph.value_info}
    maker = {output: node for node in after.graph.node for output in node.output}
    for node in after.graph.node:
        if node.op_type == "Tile":
            source = maker[node.input[0]]
            assert source.op_type == "QLinearSigmoid" or kinds[node.input[0]] in (
                onnx.TensorProto.UINT8, onnx.TensorProto.INT8)


def test_a_gate_of_two_products_is_repeated_for_each(tmp_path):
    model = network("Clip")
    for node in model.graph.node:  # the gate of the second block is that of the first
        node.input[:] = ["one_excite" if name == "two_excite" else name for name in node.input]
    shared = quantized(model, tmp_path)
    changed = with_repeated_gates(shared)
    onnx.checker.check_model(changed, full_check=True)
    assert sum(node.op_type == "Tile" for node in changed.graph.node) == BLOCKS
    np.testing.assert_array_equal(logits(changed, pictures(2)), logits(shared, pictures(2)))


def test_it_is_done_once(plain):
    changed = with_repeated_gates(plain)
    assert with_repeated_gates(changed) == changed


def test_wide_gates_stay(plain, monkeypatch):
    monkeypatch.setattr(repeated_gates, "MOST_CHANNELS", WIDE - 1)
    assert with_repeated_gates(plain) == plain


def test_a_model_in_float_stays():
    model = network("SiLU")
    assert with_repeated_gates(model) == model
