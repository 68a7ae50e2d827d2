import hashlib
import json

import onnx
import pytest
from tiny_model import facts, tiny_body, write_deployed

from stages.deployment.metadata import (
    graph_sha256,
    metadata_sha256,
    sha256_of_files,
    sha256_of_value,
)


@pytest.fixture
def model(tmp_path):
    return onnx.load(write_deployed(tmp_path / "deploy.onnx"))


def test_facts_can_be_read_back(model):
    stored = {entry.key: entry.value for entry in model.metadata_props}
    for key, value in facts(calibration=None).items():
        assert (stored[key] if key.endswith("sha256") else json.loads(stored[key])) == value


def test_same_model_has_the_same_bytes(tmp_path):
    paths = [write_deployed(tmp_path / name) for name in ("a.onnx", "b.onnx")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("change", [
    lambda m: m.graph.initializer.add().CopyFrom(onnx.numpy_helper.from_array(
        onnx.numpy_helper.to_array(m.graph.initializer[0]), "copy")),
    lambda m: m.graph.node[-1].attribute[0].__setattr__("i", 0),
    lambda m: setattr(m.graph.output[0], "name", "x"),
    lambda m: m.opset_import.add(domain="other", version=1)])
def test_graph_hash_covers_the_graph_and_not_the_metadata(model, change):
    before = graph_sha256(model), metadata_sha256(model)
    model.metadata_props.add(key="note", value="x")
    assert graph_sha256(model) == before[0]
    del model.metadata_props[-1]
    change(model)
    assert graph_sha256(model) != before[0]
    assert metadata_sha256(model) == before[1]


def test_metadata_hash_covers_every_entry(model):
    before = metadata_sha256(model)
    assert before == next(e.value for e in model.metadata_props if e.key == "metadata_sha256")
    for entry in model.metadata_props:
        if entry.key != "metadata_sha256":
            kept, entry.value = entry.value, entry.value + " "
            assert metadata_sha256(model) != before, entry.key
            entry.value = kept
    assert metadata_sha256(model) == before
    model.metadata_props.add(key="classes", value="[]")  # a second entry of one key
    assert metadata_sha256(model) != before


def test_hash_of_files_and_of_values(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"ab")
    second.write_bytes(b"c")
    assert sha256_of_files(first, second) == hashlib.sha256(b"abc").hexdigest()
    assert sha256_of_value({"a": 1, "b": [2]}) == sha256_of_value({"b": [2], "a": 1})
    assert sha256_of_value({"a": 1}) != sha256_of_value({"a": 2})


def test_weights_alone_tell_two_models_apart():
    assert graph_sha256(tiny_body(seed=0)) != graph_sha256(tiny_body(seed=1))
