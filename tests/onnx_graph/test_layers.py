import numpy as np
import onnx
import pytest
from onnx import helper
from run_onnx import model_of

from stages.onnx_graph.layers import arrays_of, weighted_layers, weights_of, with_weights


@pytest.fixture(scope="module")
def model(lite0_files):
    return onnx.load(lite0_files["fp32"])


def test_every_convolution_and_the_head_are_found(model):
    assert [node.op_type for node, _ in weighted_layers(model)] == ["Conv"] * 49 + ["Gemm"]
    assert len(weights_of(model)) == 50


def test_weights_are_put_where_there_are_any(model):
    name = weighted_layers(model)[3][1]
    changed = with_weights(model, {name: weights_of(model)[name] + 1, "of another model": 0})
    before, after = arrays_of(model), arrays_of(changed)
    assert before.keys() == after.keys()
    np.testing.assert_array_equal(after[name], before[name] + 1)
    assert all(np.array_equal(before[other], after[other]) for other in before if other != name)


def test_a_layer_whose_weights_have_the_inputs_first_is_left_out():
    weights = {"c": np.ones((4, 3, 1, 1)), "d": np.ones((5, 4)), "e": np.ones((5, 2))}
    nodes = [helper.make_node("Conv", ["x", "c"], ["conv"]),
             helper.make_node("GlobalAveragePool", ["conv"], ["pool"]),
             helper.make_node("Flatten", ["pool"], ["flat"]),
             helper.make_node("Gemm", ["flat", "d"], ["wide"], transB=1),
             helper.make_node("Gemm", ["wide", "e"], ["y"])]
    model = model_of(nodes, {"x": [None, 3, 6, 6]}, {"y": [None, 2]},
                     {name: array.astype(np.float32) for name, array in weights.items()})
    assert [name for _, name in weighted_layers(model)] == ["c", "d"]
    assert list(weights_of(model)) == ["c", "d"]
