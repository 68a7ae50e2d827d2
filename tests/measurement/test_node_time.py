"""Time by node."""

import numpy as np
import onnx
import pytest
from onnx import helper
from run_onnx import model_of

from stages.measurement.node_time import node_times


@pytest.fixture
def model(tmp_path):
    """A large product, and a small addition after it."""
    path = tmp_path / "model.onnx"
    onnx.save(model_of(
        [helper.make_node("MatMul", ["x", "w"], ["p"], name="product"),
         helper.make_node("Erf", ["p"], ["e"], name="bend"),
         helper.make_node("Add", ["e", "one"], ["y"], name="shift")],
        {"x": ["n", 256]}, {"y": ["n", 256]},
        {"w": np.ones((256, 256), np.float32), "one": np.ones(256, np.float32)}, opset=13), path)
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
