"""`python -m stages.verify` tells a good model from every other."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from paths import ROOT
from refusals import refusal
from tiny_model import BODIES, tiny_body, write_deployed

from stages.deployment.metadata import graph_sha256, metadata_sha256
from stages.deployment.runtime import HASH_KEYS
from stages.verify import read_record, verify


@pytest.fixture
def path(tmp_path):
    return write_deployed(tmp_path / "deploy.onnx")


def change_weights(model):
    kernel = next(tensor for tensor in model.graph.initializer if tensor.name == "kernel")
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel) * np.float32(1.5),
                                            "kernel"))


def change_accuracy(model):
    entry = next(entry for entry in model.metadata_props if entry.key == "accuracy")
    entry.value = entry.value.replace("0.875", "0.975")


def hash_anew(model):
    stored = {entry.key: entry for entry in model.metadata_props}
    stored["graph_sha256"].value = graph_sha256(model)
    stored["metadata_sha256"].value = metadata_sha256(model)


def rewrite(path, *changes):
    model = onnx.load(path)
    for change in changes:
        change(model)
    onnx.save(model, path)


def record_of(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props
            if entry.key in HASH_KEYS}


def failed(path, record=None):
    return {check for check, problem in verify(path, record).items() if problem}


@pytest.mark.parametrize("kind", BODIES)
def test_good_model(tmp_path, kind):
    path = write_deployed(tmp_path / "deploy.onnx", kind)
    assert verify(path, record_of(path)) == dict.fromkeys(
        ("graph", "metadata", "golden", "record"))


def test_changed_weights(path):
    rewrite(path, change_weights)
    assert failed(path) == {"graph", "golden"}


def test_one_changed_bit_of_a_weight(path):
    content = bytearray(path.read_bytes())
    kernel = onnx.load(path).graph.initializer[0].raw_data
    content[content.index(kernel)] ^= 1
    path.write_bytes(content)
    assert failed(path) == {"graph"}


def change_size(model):
    size = next(tensor for tensor in model.graph.initializer if tensor.name == "deploy/size")
    size.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(size), size.name))


def test_model_that_opens_and_does_not_run(path):
    rewrite(path, change_size)
    assert failed(path) == {"graph", "golden"}
    told = verify(path, None)["golden"]
    assert "does not run on the golden pictures" in told
    assert len(told.splitlines()) == 1


def test_changed_metadata(path):
    rewrite(path, change_accuracy)
    assert "metadata" in failed(path)
    assert "graph" not in failed(path)


def test_changed_and_hashed_anew_is_caught_by_answers_or_record(path):
    record = record_of(path)
    rewrite(path, change_accuracy, hash_anew)
    assert failed(path, record) == {"record"}
    rewrite(path, change_weights, hash_anew)
    assert failed(path) == {"golden"}
    assert "this CPU or ONNX Runtime" in verify(path, None)["golden"]
    assert failed(path, record) == {"golden", "record"}


def test_model_of_another_run_is_named(path, tmp_path):
    (tmp_path / "other").mkdir()
    other = write_deployed(tmp_path / "other" / "deploy.onnx", data_sha256="9" * 64)
    assert failed(other) == set()
    problem = verify(other, record_of(path))["record"]
    assert problem == "another model's: data, metadata differ"


def test_truncated_and_foreign(path, tmp_path):
    path.write_bytes(path.read_bytes()[:-500])
    assert "deploy.onnx" in refusal(verify, path, None)
    onnx.save(tiny_body(), path)
    assert "not a model built by stages.deploy" in refusal(verify, path, None)


@pytest.mark.parametrize("content", ["", "{", "[]", "1"])
def test_bad_record(tmp_path, content):
    path = tmp_path / "deploy.json"
    path.write_text(content)
    assert "record" in refusal(read_record, path)


def test_exit_status_and_one_line_a_check(path, tmp_path):
    def run(*arguments, **environment):
        return subprocess.run([sys.executable, "-m", "stages.verify", *arguments], cwd=tmp_path,
                              capture_output=True, encoding="utf-8", timeout=120,
                              env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1",
                                   **environment})

    (tmp_path / "record.json").write_text(json.dumps(record_of(path)))
    good = run("deploy.onnx", "--record", "record.json")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.splitlines() == [f"deploy.onnx: {check}: ok" for check in
                                        ("graph", "metadata", "golden", "record")]
    path.with_name("größe.onnx").write_bytes(path.read_bytes())
    assert run("größe.onnx", PYTHONIOENCODING="ascii").stdout.startswith("größe.onnx: graph: ok\n")
    rewrite(path, change_accuracy)
    bad = run("deploy.onnx")
    assert bad.returncode == 1
    assert "deploy.onnx: metadata: metadata was changed after it was built" in bad.stdout
    gone = run("gone.onnx")
    assert gone.returncode == 2
    assert gone.stderr == "ERROR gone.onnx: no such file\n"
