"""Accuracy by predict alone: files counted by class, and an environment of its own."""

import json
import sys
from pathlib import Path

import pytest
from archive_files import encode, pixels
from paths import ROOT
from refusals import refusal
from tiny_model import CLASSES, write_deployed

from benchmarks import predict_alone
from benchmarks.predict_alone import accuracies, classify, make_environment, pinned


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run with a deployed model, and six pictures in folders by class."""
    (tmp_path / "models").mkdir()
    write_deployed(tmp_path / "models" / "deploy.onnx")
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "deploy.json").write_text('{"variant": "int8_static"}')
    for index in range(6):
        path = tmp_path / "test" / CLASSES[index % 3] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(pixels(index)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_predict_says_is_counted_by_the_folder_of_each_file(run, monkeypatch, capsys):
    monkeypatch.setattr(predict_alone, "make_environment", lambda *asked: Path(sys.executable))
    monkeypatch.setattr(sys, "argv", ["predict_alone", "small", "test"])
    predict_alone.main()
    found = json.loads((run / "docs" / "results" / "small" / "predict.json").read_text())
    predicted = classify(Path(sys.executable), run / "models" / "deploy.onnx", run / "test")
    right = sum(each["class"] == Path(each["path"]).parent.name for each in predicted)
    assert (found["files"], found["right"], found["accuracy"]) == (6, right, right / 6)
    assert list(found["accuracy_by_class"]) == CLASSES
    assert found["deploy"] == {"variant": "int8_static"}
    assert capsys.readouterr().out == f"{right} of 6 files, {100 * right / 6:.2f} %\n"


def test_accuracy_by_class():
    predictions = [{"path": f"test/{file}", "class": said, "probabilities": {"cat": 0, "dog": 1}}
                   for file, said in (("cat/1.png", "cat"), ("cat/far/2.png", "dog"),
                                      ("dog/1.png", "dog"))]
    assert accuracies(predictions, Path("test")) == {"files": 3, "right": 2, "accuracy": 2 / 3,
                                       "accuracy_by_class": {"cat": 0.5, "dog": 1.0}}


@pytest.mark.parametrize(("pictures", "told"), [
    (".", "holds 'test', which is no class of the model; name the folder whose folders are the "
          "classes"), ("absent", "absent: no such folder")])
def test_a_folder_without_the_classes_is_refused(run, monkeypatch, pictures, told):
    monkeypatch.setattr(predict_alone, "make_environment", lambda *asked: Path(sys.executable))
    monkeypatch.setattr(sys, "argv", ["predict_alone", "small", pictures])
    assert refusal(predict_alone.main).endswith(told)
    assert not (run / "docs" / "results" / "small" / "predict.json").exists()


def test_a_picture_that_is_broken_ends_it(run):
    (run / "test" / "left" / "broken.png").write_bytes(b"")
    message = refusal(classify, Path(sys.executable), run / "models" / "deploy.onnx", run / "test")
    assert "broken.png" in message


def test_packages_are_those_that_the_project_pins():
    found = pinned((ROOT / "requirements.txt").read_text())
    assert [each.partition("==")[0] for each in found] == ["onnxruntime", "numpy", "pillow"]
    assert all(each.partition("==")[2][0].isdigit() for each in found)


def test_an_environment_that_pip_can_not_fill_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    message = refusal(make_environment, tmp_path / "environment", ["absent-package==0.0.1"])
    assert message.startswith("pip install --quiet absent-package==0.0.1: ")
