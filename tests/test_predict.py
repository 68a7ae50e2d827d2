"""`python -m stages.predict` on files as people have them."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from archive_files import encode, pixels
from paths import ROOT
from PIL import Image
from refusals import refusal
from tiny_model import CLASSES, RESOLUTION, tiny_body, write_deployed

from stages.data.imagefolder import decode
from stages.deployment.runtime import load_deployed
from stages.predict import classify, classify_all, find_pictures, in_folder, main

BLOCKED = """
import runpy, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked}:
            raise ImportError(f'{{name}} is not installed')
sys.meta_path.insert(0, Block())
sys.argv = ['predict', *sys.argv[1:]]
runpy.run_module('stages.predict', run_name='__main__')
"""
INSTALLED = ("torch", "torchvision", "timm", "omegaconf", "hydra", "onnx", "pandas", "scipy",
             "sklearn", "yaml", "requests", "dvc", "dvclive", "matplotlib", "seaborn", "psutil",
             "pooch", "dotenv", "tqdm", "onnxscript", "safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The model, and pictures: two good ones, one below, one broken, one hidden, one text."""
    folder = tmp_path_factory.mktemp("predict")
    write_deployed(folder / "deploy.onnx")
    (folder / "pictures" / "below").mkdir(parents=True)
    for name, content in {"a.png": encode(pixels(0)), "b.JPG": encode(pixels(1, 40, 30), "JPEG"),
                          "below/c.webp": encode(pixels(2, 9, 50), "WEBP"), ".d.png": b"",
                          "broken.png": encode(pixels(3))[:90], "notes.txt": b"text"}.items():
        (folder / "pictures" / name).write_bytes(content)
    return folder


def predict(folder, *arguments, stdin="", blocked=(), **environment):
    program = ["-c", BLOCKED.format(blocked=blocked)] if blocked else ["-m", "stages.predict"]
    return subprocess.run([sys.executable, *program, *arguments, "--model", "deploy.onnx"],
                          cwd=folder, input=stdin, capture_output=True, text=True, timeout=120,
                          env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1",
                               "OMP_NUM_THREADS": "1", **environment})


def test_needs_three_packages_and_tells_a_broken_file_in_one_line(folder):
    result = predict(folder, "pictures", blocked=INSTALLED)
    assert result.returncode == 1, result.stderr
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [line[0] for line in lines] == ["pictures/a.png", "pictures/b.JPG",
                                           "pictures/below/c.webp"]
    assert all(name in CLASSES and 0 < float(share) <= 1 for _, name, share in lines)
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("ERROR pictures/broken.png: can't be read")


def test_paths_from_stdin_as_json(folder):
    result = predict(folder, "-", "--json", stdin="pictures/a.png\r\n\npictures/b.JPG\n")
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["path"] for each in found] == ["pictures/a.png", "pictures/b.JPG"]
    for each in found:
        assert sum(each["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert each["probability"] == max(each["probabilities"].values())
        assert CLASSES[each["class_index"]] == each["class"]


def test_no_usable_model_and_bad_usage(tmp_path, monkeypatch, caplog, capsys):
    onnx.save(tiny_body(), tmp_path / "foreign.onnx")
    for arguments in (["x.png", "--model", str(tmp_path / "foreign.onnx")], []):
        monkeypatch.setattr(sys, "argv", ["predict", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 2
    [message] = caplog.messages
    assert "not a model built by stages.deploy" in message
    assert "IMAGE" in capsys.readouterr().err


def test_files_folders_and_patterns(folder, monkeypatch):
    monkeypatch.chdir(folder / "pictures")
    assert list(find_pictures(["a.png", "below", "*.[pJ]*"])) == [
        "a.png", "below/c.webp", "a.png", "b.JPG", "broken.png"]
    assert list(find_pictures(["**/*.webp"])) == ["below/c.webp"]
    assert list(find_pictures(["no*such"])) == ["no*such"]
    assert list(find_pictures(["bel*"])) == ["below/c.webp"]
    everything = list(find_pictures(["**/*"]))
    assert everything.count("below/c.webp") == everything.count("a.png") == 1
    assert "below" not in everything
    monkeypatch.setattr(sys, "stdin", io.StringIO("a b.png\nc.png"))
    assert list(find_pictures(["-"])) == ["a b.png", "c.png"]
    monkeypatch.setattr(sys, "stdin", None)  # closed by the caller
    assert list(find_pictures(["-"])) == []


def test_a_linked_folder_is_searched_too_and_one_that_leads_around_ends(folder, tmp_path):
    (tmp_path / "linked").symlink_to(folder / "pictures")
    (tmp_path / "around").symlink_to(tmp_path)
    assert [path.removeprefix(f"{tmp_path}/") for path in in_folder(str(tmp_path))] == [
        f"linked/{name}" for name in ("a.png", "b.JPG", "below/c.webp", "broken.png")]


def test_a_folder_that_can_not_be_read_is_passed_on_to_fail(folder, monkeypatch):
    scandir = os.scandir

    def denied(path):
        if str(path).endswith("below"):
            raise PermissionError(13, "denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    pictures = str(folder / "pictures")
    assert f"{pictures}/below" in in_folder(pictures)


def test_name_with_brackets_is_no_pattern(tmp_path):
    path = tmp_path / "x[1].png"
    path.write_bytes(b"")
    assert list(find_pictures([str(path)])) == [str(path)]


@pytest.mark.parametrize(("make", "told"), [
    (lambda p: None, "No such file"), (lambda p: p.write_bytes(b""), "can't be read"),
    (lambda p: p.write_bytes(b"text"), "can't be read"),
    (lambda p: p.mkdir(), "a folder without")])
def test_what_is_no_picture_is_told(folder, tmp_path, make, told):
    path = tmp_path / "x.png"
    make(path)
    assert told in refusal(classify, load_deployed(folder / "deploy.onnx"), str(path))


def test_pictures_are_brought_to_the_size_of_training(folder, tmp_path):
    model = load_deployed(folder / "deploy.onnx")
    wide = Image.fromarray(pixels(5, 20, 60)).resize((180, 60))
    transparent = wide.convert("RGBA")
    transparent.putalpha(100)
    turned = wide.getexif()
    turned[0x0112] = 6
    for name, content in {
            "palette": encode(wide.convert("P")), "grey": encode(wide.convert("L")),
            "alpha": encode(transparent), "16 bit": encode(wide.convert("I;16")),
            "turned": encode(wide, "JPEG", exif=turned), "cmyk": encode(wide.convert("CMYK"),
                                                                        "JPEG")}.items():
        path = tmp_path / f"{name}.png"
        path.write_bytes(content)
        seen = decode(content, name, RESOLUTION)  # what `prepare` makes of it
        assert seen.shape == (RESOLUTION, RESOLUTION, 3)
        _, probabilities, _ = model.run(seen[None])
        found = classify(model, str(path))["probabilities"]
        np.testing.assert_array_equal(list(found.values()), probabilities[0])


def test_a_class_that_the_terminal_has_no_letters_for(tmp_path):
    write_deployed(tmp_path / "deploy.onnx", classes=["größe"] * 3)
    (tmp_path / "a.png").write_bytes(encode(pixels(0)))
    result = predict(tmp_path, "a.png", PYTHONIOENCODING="ascii")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("a.png\tgröße\t")


def test_a_name_with_a_line_break_is_one_line(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a\n\tb.png").write_bytes(encode(pixels(0)))
    model = load_deployed(folder / "deploy.onnx")
    assert classify_all(model, iter(["a\n\tb.png"]), as_json=False) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.split("\t")[0] == "a\\n\\tb.png"


def test_a_broken_file_with_a_line_break_in_its_name_is_one_line(folder, tmp_path, monkeypatch,
                                                                caplog):
    monkeypatch.chdir(tmp_path)
    model = load_deployed(folder / "deploy.onnx")
    assert classify_all(model, iter(["no\nsuch.png"]), as_json=False) == 1
    [message] = caplog.messages
    assert message.startswith("no\\nsuch.png: can't be read")


def test_a_failure_is_told_though_the_reader_has_gone(folder):
    command = f"{sys.executable} -m stages.predict no.png $(yes pictures/a.png | head -200) " \
              "--model deploy.onnx | true; exit ${PIPESTATUS[0]}"
    result = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True,
                            timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert result.returncode == 1
    assert result.stderr == "ERROR no.png: can't be read (No such file or directory)\n"


def test_a_model_whose_name_is_no_text(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/m\xff.onnx")
    with open(path, "wb") as file:
        file.write(tiny_body().SerializeToString())
    assert "not an ONNX model that can be run" in refusal(load_deployed, Path(path))
