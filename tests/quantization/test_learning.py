"""What is learned is kept where it helps on pictures held out."""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from run_onnx import model_of
from synthetic import make_dataset

from stages.quantization import learning
from stages.quantization.learning import Learning, held_out
from stages.training import process


def model(name):
    return model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": [1]}, {"y": [1]}, name=name)


@pytest.mark.parametrize(("after", "kept"), [(0.01, True), (0.1, True), (0.5, False)])
def test_model_is_replaced_unless_its_logits_are_worse(tmp_path, caplog, after, kept):
    """The start is off by 0.1 of the logits: 20 dB."""
    caplog.set_level("INFO")
    path = tmp_path / "int8.onnx.partial"
    onnx.save(model("start"), path)
    error = {"start": 0.1, "learned": after}

    class Judged(Learning):
        def _logits(self, at):
            return np.ones((2, 3)) + error[onnx.load(at).graph.name]

    judged = Judged(base=None, dataset=None, taught=None, judges=None, reference=np.ones((2, 3)))
    record = judged.keep_if_better(path, model("learned"), "qat")
    assert onnx.load(path).graph.name == ("learned" if kept else "start")
    assert record == {"held_out_snr_db_before": 20,
                      "held_out_snr_db_after": round(-20 * np.log10(after), 2), "kept": kept}
    assert ("stays as it was" in caplog.text) is not kept
    assert "qat" in caplog.text
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_pictures_held_out_are_a_quarter_and_apart():
    taught, judges = held_out(np.arange(100, 140))
    assert len(judges) == 10
    assert sorted([*taught, *judges]) == list(range(100, 140))


def test_what_is_learned_keeps_to_a_container_s_share(monkeypatch):
    set_to = []
    monkeypatch.setattr(process, "thread_count", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    for name, value in (("keep_freed_memory", None), ("float_logits", 0)):
        monkeypatch.setattr(learning, name, lambda *asked, value=value: value)
    Learning.of(SimpleNamespace(source=None, params=None), make_dataset())
    assert set_to == [2]
