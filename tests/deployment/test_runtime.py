import json

import numpy as np
import onnx
import pytest
from refusals import refusal
from synthetic import random_pictures
from tiny_model import CLASSES, RESOLUTION, facts, tiny_body, write_deployed

from stages.deployment.runtime import load_deployed, open_deployed
from stages.inference import saturation


@pytest.fixture
def path(tmp_path):
    return write_deployed(tmp_path / "deploy.onnx")


def with_metadata(path, key, value):
    model = onnx.load(path)
    entry = next(entry for entry in model.metadata_props if entry.key == key)
    if value is None:
        model.metadata_props.remove(entry)
    else:
        entry.value = value
    onnx.save(model, path)
    return path


def test_runs_pictures_of_any_size(path):
    model = load_deployed(path)
    assert model.classes == CLASSES
    assert model.resolution == RESOLUTION
    for size in ((12, 12), (30, 7)):
        logits, probabilities, index = model.run(random_pictures(3, *size))
        assert logits.shape == probabilities.shape == (3, len(CLASSES))
        np.testing.assert_array_equal(index, probabilities.argmax(axis=1))


def test_what_it_can_not_run_on_is_told(path):
    message = refusal(load_deployed(path).run, random_pictures(1, 8, 8).astype(np.float32))
    assert message.startswith("the model can't run on pictures of shape (1, 8, 8, 3) (")


@pytest.mark.parametrize(("saturates", "recipe", "warned"), [
    (True, {"reduce_range": False}, True), (True, {"reduce_range": True}, False),
    (False, {"reduce_range": False}, False), (True, None, False)])
def test_a_model_that_this_cpu_cuts_off_warns(tmp_path, monkeypatch, caplog, saturates, recipe,
                                              warned):
    monkeypatch.setattr(saturation, "products_saturate", lambda: saturates)
    made_by = recipe and {**facts()["calibration"], **recipe}
    load_deployed(write_deployed(tmp_path / "deploy.onnx", calibration=made_by))
    assert [record.levelname for record in caplog.records] == ["WARNING"] * warned
    assert all("deploy.onnx: on this CPU" in record.getMessage() for record in caplog.records)
    open_deployed(tmp_path / "deploy.onnx")
    assert len(caplog.records) == warned, "deploy warns itself, of the name that the file will have"


def test_no_file(tmp_path):
    assert refusal(load_deployed, tmp_path / "x.onnx").endswith("no such file")


@pytest.mark.parametrize("content", [b"", b"no model", b"\x00" * 100])
def test_not_onnx(tmp_path, content):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    assert "x.onnx: not a" in refusal(load_deployed, path)


def test_truncated(path):
    path.write_bytes(path.read_bytes()[:-200])
    assert "deploy.onnx" in refusal(load_deployed, path)


def test_foreign_model(tmp_path):
    onnx.save(tiny_body(), tmp_path / "x.onnx")
    assert "not a model built by stages.deploy" in refusal(load_deployed, tmp_path / "x.onnx")


@pytest.mark.parametrize(("key", "value", "told"), [
    ("format", "stages.deploy 0", "expected 'stages.deploy 1'"),
    ("classes", None, "lacks classes"), ("graph_sha256", None, "lacks graph_sha256"),
    ("preset", "{", "can't be read"), ("preset", "{}", "can't be read"),
    ("preset", '{"resolution": 0}', "no resolution"), ("classes", "[1, 2, 3]", "no class names"),
    ("calibration", '"int8"', "no recipe"),
    ("classes", "null", "can't be read"), ("classes", json.dumps(CLASSES[:2]), "not those of")])
def test_metadata_that_deploy_does_not_write(path, key, value, told):
    assert told in refusal(load_deployed, with_metadata(path, key, value))


def test_metadata_that_is_no_text(path):
    content = path.read_bytes()
    assert CLASSES[1].encode() in content
    path.write_bytes(content.replace(CLASSES[1].encode(), b"\xff" * len(CLASSES[1])))
    assert "deploy.onnx: its metadata can't be read" in refusal(load_deployed, path)
