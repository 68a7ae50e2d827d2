"""The comparison of ways to recover accuracy: what it changes, keeps and shows."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from inverted_residual import SIDE, network
from paths import ROOT
from refusals import refusal
from synthetic import a_system, make_dataset, model_params, recipe

from benchmarks import finished_run, recovery
from benchmarks.finished_run import FLOAT_FILE, Run
from stages.config.params import PARAMS_FILE, load_params
from stages.config.recipes import check_recipe
from stages.reporting.tables import cpu_label

BASE = recipe(calibration="percentile", bias_correction=True, per_channel=False)
PAGE = "before\n<!-- recovery -->\n<!-- /recovery -->\nafter\n"


@pytest.mark.parametrize("name", recovery.CONFIGURATIONS)
def test_every_configuration_is_a_recipe_that_is_accepted(name):
    made = recovery.recipe_of(BASE, name)
    check_recipe("int8_static", made)
    assert (made.method, made.per_channel) == ("static", False), "the base's own"
    keys = recovery.CONFIGURATIONS[name]
    expected = {**recovery.NEAREST, **keys}
    assert {key: made[key] for key in expected} == expected


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """The program with a float model of constant logits, and quantization that is counted."""
    pictures, written = make_dataset(), []
    params = SimpleNamespace(model=model_params(), quantize=SimpleNamespace(
        max_drop_pp=1.0, variants=SimpleNamespace(int8_static=BASE)))

    def write_variant(source, target, recipe, model, dataset, tested_drop_pp):
        written.append((recipe, len(dataset.splits["calibration"])))
        return SimpleNamespace(positions=dataset.splits["calibration"], rounding={}, qat={})

    def predict(path, pictures, model):
        logits = np.tile(np.float32([1.0, 0.0, 0.5]), (len(pictures), 1))
        return logits if path == FLOAT_FILE else logits + np.float32(0.1)

    monkeypatch.chdir(tmp_path)
    FLOAT_FILE.parent.mkdir()
    FLOAT_FILE.write_bytes(b"model")
    for module in (finished_run, recovery):
        monkeypatch.setattr(module, "load_params", lambda *keys, path: params)
    monkeypatch.setattr(finished_run, "load_dataset", lambda *files: pictures)
    monkeypatch.setattr(recovery, "write_variant", write_variant)
    monkeypatch.setattr(finished_run, "predict", predict)
    monkeypatch.setattr(finished_run, "load_onnx", lambda path, **options: path)
    recovery.PAGE.parent.mkdir()
    recovery.PAGE.write_text(PAGE)
    return SimpleNamespace(written=written, dataset=pictures, run=lambda *names, model="tiny":
                           recovery.measure_missing(model, Path(), names, 1000), params=params)


@pytest.mark.parametrize("name", ["minmax, 64", "equalization, rounding"])
def test_a_configuration_is_measured_on_a_small_network(name, tmp_path):
    onnx.save(network("Clip"), tmp_path / "model.onnx")
    dataset = make_dataset(600)
    run = Run(tmp_path / "model.onnx", model_params(image_size=SIDE), dataset,
              dataset.splits["validation"])
    quantize = SimpleNamespace(max_drop_pp=1.0, variants=SimpleNamespace(int8_static=BASE))
    row = recovery.measure(name, run, quantize, run.logits_at(run.source))
    assert row["calibration_images"] == (64 if "64" in name
                                         else len(dataset.splits["calibration"]))
    assert 0 <= row["accuracy"] <= 1
    assert row["logits_snr_db"] > 0
    assert row["seconds"] > 0
    assert bool(row["rounding"]) == ("rounding" in name)
    setup = {**run.facts_here(), "model": "small"}
    assert f"| {name} | " in recovery.table("small", {
        "setup": setup, "float_accuracy": 0.5, "results": {name: row},
        "system": a_system()})


def test_results_are_kept_one_by_one_and_not_made_twice(bench, caplog):
    caplog.set_level("INFO")
    bench.run("minmax")
    bench.run("minmax", "mse, 64")
    assert [recipe.calibration for recipe, _ in bench.written] == ["minmax", "mse"]
    assert "minmax: there already" in caplog.text
    content = json.loads(recovery.RAW.read_text())["tiny"]
    row = content["results"]["minmax"]
    labels = bench.dataset.labels_of("validation")
    assert row["accuracy"] == content["float_accuracy"] == np.mean(labels == 0)
    assert row["drop_pp"] == row["flipped"] == 0
    assert row["drop_low_pp"] == -row["drop_high_pp"] < 0
    assert row["logits_snr_db"] == pytest.approx(10 * np.log10(1.25 / 0.03), abs=0.01)
    text = recovery.PAGE.read_text()
    assert text.index("| minmax | ") < text.index("| mse, 64 | ")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "16.20 dB" in text


def other_model(monkeypatch):
    FLOAT_FILE.write_bytes(b"other")


def other_cpu(monkeypatch):
    monkeypatch.setattr(finished_run, "cpu_label", lambda cpu: "another")


def other_onnxruntime(monkeypatch):
    monkeypatch.setattr(finished_run.onnxruntime, "__version__", "another")


@pytest.mark.parametrize(("change", "told"), [
    (other_model, "source_sha256"), (other_cpu, "cpu"), (other_onnxruntime, "onnxruntime")])
def test_rows_of_something_else_are_not_replaced(change, told, bench, monkeypatch):
    bench.run("minmax")
    before = recovery.RAW.read_bytes()
    change(monkeypatch)
    assert refusal(bench.run, "equalization") == (
        f"docs/recovery.json: 'tiny' was measured with another {told}; choose another name, or "
        "delete it there")
    assert recovery.RAW.read_bytes() == before


def test_another_recipe_of_the_base_is_measured_anew(bench):
    bench.run("minmax")
    bench.params.quantize.variants.int8_static = replace(BASE, per_channel=True)
    bench.run("minmax")
    assert [recipe.per_channel for recipe, _ in bench.written] == [False, True]


def test_a_configuration_that_there_is_no_longer_is_left_out(bench, monkeypatch):
    bench.run("minmax", "mse")
    fewer = {name: keys for name, keys in recovery.CONFIGURATIONS.items() if name != "mse"}
    monkeypatch.setattr(recovery, "CONFIGURATIONS", fewer)
    bench.run("minmax", "rounding")
    assert len(bench.written) == 3
    assert list(json.loads(recovery.RAW.read_text())["tiny"]["results"]) == ["minmax", "rounding"]


def test_published_rows_are_taken_for_the_same_model_and_machine(bench):
    """A program whose facts or recipes are other ones would replace them by what it measures."""
    bench.run("minmax")
    keys = list(json.loads(recovery.RAW.read_text())["tiny"]["setup"])
    base = load_params("quantize.variants.int8_static", path=ROOT / PARAMS_FILE
                       ).quantize.variants.int8_static
    content = json.loads((ROOT / recovery.RAW).read_text(encoding="utf-8"))
    for record in content.values():
        assert list(record["setup"]) == keys
        assert record["setup"]["cpu"] == cpu_label(record["system"]["cpu"])
        assert record["setup"]["onnxruntime"] == record["system"]["packages"]["onnxruntime"]
        assert recovery.earlier_results(record, base) == record["results"]


def test_another_name_stands_beside_the_first(bench):
    bench.run("minmax")
    bench.run("rounding", model="other")
    content = json.loads(recovery.RAW.read_text())
    assert {name: list(each["results"]) for name, each in content.items()} == {
        "tiny": ["minmax"], "other": ["rounding"]}
    text = recovery.PAGE.read_text()
    assert text.index("tiny: ") < text.index("| minmax |") < text.index("other: ")


def test_missing_model_is_told(bench):
    FLOAT_FILE.unlink()
    assert "run 'dvc repro export'" in refusal(bench.run, "minmax")
