"""Time by node."""

import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper
from run_onnx import model_of

from stages.measurement import node_time
from stages.measurement.node_time import KERNEL, node_times


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


def test_a_time_is_the_median_of_the_runs_after_the_first(tmp_path, monkeypatch):
    events = [{"cat": "Node", "name": f"product{KERNEL}", "args": {"op_name": "MatMul"},
               "dur": 1000 * ms} for ms in (100, 1, 2, 9)]
    profile, ran = tmp_path / "profile.json", []
    profile.write_text(json.dumps([*events, {"cat": "Session", "name": "run", "dur": 5}]))
    session = SimpleNamespace(get_inputs=lambda: [SimpleNamespace(name="x")],
                              run=lambda *_: ran.append(1), end_profiling=lambda: str(profile))
    monkeypatch.setattr(node_time, "open_session", lambda *_, **__: session)
    assert node_times(tmp_path / "x.onnx", np.ones(1), 3).ms.tolist() == [2]
    assert len(ran) == 4


@pytest.mark.parametrize("runs", [1, 4])
def test_every_node_once_in_order_and_no_file_stays(model, runs, monkeypatch):
    monkeypatch.chdir(model.parent)
    table = node_times(model, np.ones((2, 256), np.float32), runs)
    assert list(table.columns) == ["node", "operator", "ms"]
    assert list(table.node) == ["product", "bend", "shift"]
    assert list(table.operator) == ["MatMul", "Erf", "Add"]
    assert (table.ms >= 0).all()
    assert [path.name for path in model.parent.iterdir()] == ["model.onnx"]
