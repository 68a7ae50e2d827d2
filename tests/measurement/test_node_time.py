"""Time by node."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from stages.measurement.node_time import node_times


@pytest.fixture
def model(tmp_path):
    """A large product, and a small addition after it."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [256, 256], [1.0] * 256 * 256)
    one = helper.make_tensor("one", TensorProto.FLOAT, [256], [1.0] * 256)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["p"], name="product"),
         helper.make_node("Erf", ["p"], ["e"], name="bend"),
         helper.make_node("Add", ["e", "one"], ["y"], name="shift")],
        "graph", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 256])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 256])], [weight, one])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8),
              path)
    return path


@pytest.mark.parametrize("runs", [1, 4])
def test_every_node_once_in_order_and_no_file_stays(model, runs, monkeypatch):
    monkeypatch.chdir(model.parent)
    table = node_times(model, np.ones((2, 256), np.float32), runs)
    assert list(table.columns) == ["node", "operator", "ms"]
    assert list(table.node) == ["product", "bend", "shift"]
    assert list(table.operator) == ["MatMul", "Erf", "Add"]
    assert (table.ms >= 0).all()
    assert [path.name for path in model.parent.iterdir()] == ["model.onnx"]
