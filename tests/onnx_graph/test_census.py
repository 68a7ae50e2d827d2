import numpy as np
import onnx
import pytest
from onnx import helper
from run_onnx import model_of
from synthetic import LITE0

from stages.onnx_graph.census import executed_graph, operator_counts, quantized_and_float


def test_counts_are_ordered_by_frequency_then_name():
    names = ["Relu", "Conv", "Add", "Conv", "Relu", "Conv", "Abs"]
    nodes = [helper.make_node(name, ["x"], ["y"]) for name in names]
    assert list(operator_counts(model_of(nodes, {}, {})).items()) == [
        ("Conv", 3), ("Relu", 2), ("Abs", 1), ("Add", 1)]


@pytest.mark.parametrize(("counts", "expected"), [
    ({}, (0, 0)),
    ({"Conv": 3, "Clip": 2, "Gemm": 1}, (0, 6)),
    ({"QLinearConv": 4, "QLinearAdd": 1, "QGemm": 1, "QuantizeLinear": 9}, (6, 0)),
    ({"ConvInteger": 2, "DynamicQuantizeLinear": 2, "Cast": 2, "Mul": 4, "MatMulInteger": 1},
     (3, 4)),
    ({"QuantizeLinear": 1, "DequantizeLinear": 1, "Reshape": 1, "Flatten": 1, "Transpose": 2,
      "ReorderInput": 1, "ReorderOutput": 1, "Split": 1, "Expand": 1}, (0, 0)),
    ({"NhwcMaxPool": 1, "MaxPool": 1}, (1, 1))])
def test_quantized_and_float_by_hand(counts, expected):
    assert quantized_and_float(counts) == expected


def test_executed_graph_is_what_runs_and_leaves_the_file(tmp_path):
    """A Relu after a convolution does not run as a node of its own."""
    shape, path = [1, 8, 4, 4], tmp_path / "model.onnx"
    onnx.save(model_of(
        [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])],
        {"x": shape}, {"y": shape}, {"w": np.ones((8, 8, 1, 1), np.float32)}, opset=13), path)
    before = path.read_bytes()
    assert "Relu" not in operator_counts(executed_graph(path))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_static_lite0_runs_in_integers_alone(lite0_files, exported):
    """Every convolution, addition, pool and matrix product; Clip is gone into the ranges."""
    written = operator_counts(exported(LITE0, 32, 18)[2])
    compute = sum(written[name] for name in ("Conv", "Add", "GlobalAveragePool", "Gemm"))
    counts = operator_counts(executed_graph(lite0_files["static"]))
    assert quantized_and_float(counts) == (compute, 0)


def test_float_lite0_runs_in_float_alone(lite0_files):
    quantized, in_float = quantized_and_float(operator_counts(executed_graph(lite0_files["fp32"])))
    assert quantized == 0
    assert in_float >= 50


def test_dynamic_lite0_runs_its_convolutions_in_integers(lite0_files):
    counts = operator_counts(executed_graph(lite0_files["dynamic"]))
    assert counts["ConvInteger"] == 49
    assert "Conv" not in counts
    quantized, in_float = quantized_and_float(counts)
    assert quantized >= 49
    assert in_float > 0, "it scales its results in float"
