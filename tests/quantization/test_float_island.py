"""A layer left out of quantization runs in float, and ONNX Runtime alone would not have it so."""

import copy

import numpy as np
import onnx
import pytest
from onnx import helper
from run_onnx import model_of, run

from stages.onnx_graph.census import executed_graph, operator_counts
from stages.quantization.float_island import with_float_islands

SHAPE = [1, 4, 4, 4]


@pytest.fixture(scope="module")
def model():
    """Quantize, dequantize, convolve in float by channels of very different weights, and again."""
    weight = np.ones((4, 4, 1, 1), np.float32) * np.array([1e-3, 1, 1, 100],
                                                          np.float32)[:, None, None, None]
    pair = ["scale", "zero"]
    return model_of(
        [helper.make_node("QuantizeLinear", ["x", *pair], ["xq"], name="q1"),
         helper.make_node("DequantizeLinear", ["xq", *pair], ["xd"], name="dq1"),
         helper.make_node("Conv", ["xd", "weight"], ["c"], name="conv"),
         helper.make_node("Relu", ["c"], ["r"], name="relu"),
         helper.make_node("QuantizeLinear", ["r", *pair], ["rq"], name="q2"),
         helper.make_node("DequantizeLinear", ["rq", *pair], ["y"], name="dq2")],
        {"x": SHAPE}, {"y": SHAPE},
        {"weight": weight, "scale": np.float32(0.01), "zero": np.uint8(0)}, opset=13)


def executed(model):
    return operator_counts(executed_graph(model.SerializeToString()))


def test_onnx_runtime_quantizes_what_was_left_out(model):
    """Why the guard is there. Where this fails, ONNX Runtime has mended it: remove the guard."""
    assert "QLinearConv" in executed(model)


def test_an_island_runs_in_float_and_says_the_same(model):
    island = with_float_islands(model, ["conv", "relu"])
    onnx.checker.check_model(island, full_check=True)
    assert "QLinearConv" not in executed(island)
    inputs = np.random.default_rng(0).uniform(0, 2, SHAPE).astype(np.float32)
    plain, kept = (run(each, {"x": inputs}, fused=False)[0] for each in (model, island))
    np.testing.assert_array_equal(plain, kept)


@pytest.mark.parametrize(("operator", "options"), [
    ("MaxPool", {"kernel_shape": [1, 1]}), ("Transpose", {"perm": [0, 1, 3, 2]})])
def test_an_island_stays_one_behind_what_a_dequantization_is_moved_past(model, operator, options):
    moved = copy.deepcopy(model)
    convolution = moved.graph.node[2]
    moved.graph.node.insert(2, helper.make_node(operator, [convolution.input[0]], ["m"],
                                                name="between", **options))
    moved.graph.node[3].input[0] = "m"
    assert "QLinearConv" in executed(moved)
    assert "QLinearConv" not in executed(with_float_islands(moved, ["between", "conv", "relu"]))


def test_only_what_is_named_changes(model):
    assert with_float_islands(model, ["relu", "another"]) == model
