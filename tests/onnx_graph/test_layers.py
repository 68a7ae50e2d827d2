import numpy as np
import onnx
import pytest

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
