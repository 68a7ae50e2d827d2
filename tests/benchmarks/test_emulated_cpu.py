"""The choice of a recipe and the comparison of two CPUs, by hand, and what is refused."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from inverted_residual import SIDE, network
from omegaconf import OmegaConf
from paths import ROOT
from refusals import refusal
from synthetic import make_dataset, model_params, random_batch

from benchmarks import emulated_cpu, finished_run
from benchmarks.emulated_cpu import (
    CANDIDATES,
    RECIPES,
    choose,
    compare,
    main,
    make_model,
    run_on_both,
    told,
)
from benchmarks.finished_run import Run
from stages.config.params import PARAMS_FILE, load_params
from stages.config.recipes import check_recipe
from stages.inference.saturation import products_saturate
from stages.inference.session import open_session, predictor_of

RIGHT, WRONG = [1.0, 0.0], [0.0, 1.0]


def test_accuracy_on_both_and_how_far_logits_move():
    found = compare(np.array([0, 0]), np.array([RIGHT, RIGHT]), np.array([RIGHT, WRONG]) * 2)
    assert found == {"accuracy": 1.0, "cut_off_accuracy": 0.5, "max_logit_change": 2.0}
    rows = {"u8s8": {**found, "warnings": ["u8s8.onnx: cut off"]},
            "u8u8": {**found, "cut_off_accuracy": 1.0, "max_logit_change": 0.0, "warnings": []}}
    content = {"models": rows, "chosen": {"name": "u8u8", "within_bound": True}, "cpu": "A CPU",
               "model": "net", "emulated_cpu": "Haswell", "image_size": 64,
               "validation_images": 1200, "dataset": "digits"}
    lines = told(content).splitlines()
    assert lines[0] == "net at 64 px, 1,200 validation pictures of digits; A CPU."
    assert "| this CPU | Haswell |" in lines[2]
    assert lines[4:] == ["| u8s8 | 100.00 % | 50.00 % | 2.000 | yes |",
                         "| **u8u8** | 100.00 % | 100.00 % | 0.000 | no |"]
    content |= {"chosen": {"name": "u8u8", "within_bound": False}, "bound_pp": 0.3}
    assert "; A CPU. No recipe is within 0.3 points;" in told(content).splitlines()[0]


def test_candidates_do_not_saturate():
    """Signed activations become unsigned on the way, so signed weights need the reduced range."""
    for name in CANDIDATES:
        changes = RECIPES[name]
        assert changes.get("reduce_range") or changes.get("weight_type") == "QUInt8", name


@pytest.mark.parametrize(("name", "rounded"), [("float", False), ("s8s8", True)])
def test_model_of_a_name_is_made(name, rounded, tmp_path):
    source, target, dataset = tmp_path / "source.onnx", tmp_path / "target.onnx", make_dataset()
    onnx.save(network("Clip"), source)
    run = Run(source, model_params(image_size=SIDE), dataset, dataset.splits["validation"])
    make_model(name, target, run, load_params("quantize", path=ROOT / PARAMS_FILE).quantize)
    types = {node.op_type for node in onnx.load(target).graph.node}
    assert ("QuantizeLinear" in types) == rounded
    assert len(run.logits_at(target)) == len(run.labels)


@pytest.mark.parametrize("name", RECIPES)
def test_changes_agree_with_the_recipe_that_they_change(name):
    static = load_params("quantize", path=ROOT / PARAMS_FILE).quantize.variants.int8_static
    check_recipe(name, OmegaConf.merge(static, RECIPES[name]))


def test_first_candidate_within_the_bound_is_chosen_and_no_later_one_is_made():
    asked = []

    def accuracy(name):
        asked.append(name)
        return {"float": 0.99, CANDIDATES[0]: 0.98, CANDIDATES[1]: 0.9871}[name]

    chosen = choose(accuracy)
    assert asked == ["float", *CANDIDATES[:2]]
    assert chosen == {"name": CANDIDATES[1], "within_bound": True, "bound_pp": 0.3,
                      "drop_pp": {CANDIDATES[0]: 1.0, CANDIDATES[1]: 0.29}}


def test_where_no_candidate_is_within_the_bound_the_best_is_told_not_to_be():
    chosen = choose(lambda name: {"float": 0.9, "u8u8": 0.89}.get(name, 0.8))
    assert (chosen["name"], chosen["within_bound"]) == ("u8u8", False)
    assert list(chosen["drop_pp"]) == list(CANDIDATES)


@pytest.fixture
def run_program(tmp_path, monkeypatch, dataset):
    """Runs main with made-up models, both CPUs by hand; the second time it may not measure."""
    calls = []

    def measure(path, inputs, labels, cpu):
        calls.append(path.stem)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return {"accuracy": 1.0, "cut_off_accuracy": 1.0, "max_logit_change": 0.0, "warnings": []}

    (tmp_path / "models").mkdir()
    (tmp_path / "models/onnx_fp32.onnx").write_bytes(b"float")
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/precision.md").write_text("<!-- emulated -->\n<!-- /emulated -->\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(emulated_cpu, "require_emulator", lambda: None)
    monkeypatch.setattr(sys, "argv", ["emulated_cpu"])
    monkeypatch.setattr(finished_run, "load_dataset", lambda *_: dataset)
    monkeypatch.setattr(emulated_cpu, "measure", measure)
    monkeypatch.setattr(emulated_cpu, "make_model", lambda name, *_: None)
    monkeypatch.setattr(emulated_cpu, "choose", lambda accuracy: calls.append("choice") or {
        "name": "u8u8", "within_bound": True})
    return calls


def test_a_run_that_was_stopped_goes_on(run_program):
    with pytest.raises(KeyboardInterrupt):
        main()
    main()
    assert run_program == ["choice", "float", "u8s8", "u8s8", "s8s8", "u8s8_reduced", "u8u8"]
    with open("docs/emulated_cpu.json", encoding="utf-8") as file:
        assert list(json.load(file)["models"]) == ["float", "u8s8", "s8s8", "u8s8_reduced", "u8u8"]


@pytest.mark.parametrize(("path", "old", "new"), [
    ("models/onnx_fp32.onnx", "float", "trained again"),
    ("params.yaml", "calibration: logits", "calibration: mse")])
def test_another_model_or_recipe_is_measured_anew(run_program, path, old, new):
    with pytest.raises(KeyboardInterrupt):
        main()
    content = Path(path).read_text(encoding="utf-8")
    assert old in content
    Path(path).write_text(content.replace(old, new), encoding="utf-8")
    main()
    assert run_program.count("choice") == run_program.count("float") == 2


def test_another_bound_is_measured_anew(run_program, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        main()
    monkeypatch.setattr(emulated_cpu, "BOUND_PP", 0.1)
    main()
    assert run_program.count("choice") == 2


def test_missing_emulator_is_named_with_its_package(monkeypatch):
    monkeypatch.setattr(emulated_cpu, "products_saturate", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["emulated_cpu"])
    assert refusal(main) == "qemu-x86_64: not installed; it comes with the package qemu-user"


def test_a_model_is_run_on_both_and_the_emulated_cpu_is_told_of(tmp_path, monkeypatch):
    """The emulator of this test writes down what it is asked for, and runs it on this CPU."""
    emulator = tmp_path / "emulator"
    emulator.write_text(f'#!/bin/sh\necho "$1 $2" > {tmp_path}/asked\nshift 2\nexec "$@"\n')
    emulator.chmod(0o755)
    monkeypatch.setattr(emulated_cpu, "EMULATOR", str(emulator))
    onnx.save(network("Clip"), tmp_path / "small.onnx")
    inputs = random_batch(23, SIDE)
    expected = predictor_of(open_session(tmp_path / "small.onnx"))(inputs).argmax(axis=1)
    labels = np.where(np.arange(23) < 5, expected, -1)
    found = emulated_cpu.measure(tmp_path / "small.onnx", inputs, labels, "Haswell")
    assert (tmp_path / "asked").read_text() == "-cpu Haswell\n"
    assert found.pop("emulated_cpu_ms_a_picture") > 0
    assert found == {"accuracy": 5 / 23, "cut_off_accuracy": 5 / 23, "max_logit_change": 0.0,
                     "warnings": [], "emulated_saturates": products_saturate()}


def test_command_that_fails_is_told_in_one_line(tmp_path):
    message = refusal(run_on_both, tmp_path / "absent.onnx", np.zeros((1, 3, 2, 2)), [0], "Haswell")
    assert message.startswith(f"benchmarks.run_model {tmp_path}/absent.onnx ")
    assert "absent.onnx: no such file" in message
