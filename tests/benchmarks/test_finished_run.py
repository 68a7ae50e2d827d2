"""A finished run that the command line names: its record stands beside those of others."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from inverted_residual import SIDE, network
from refusals import refusal
from synthetic import make_dataset, model_params

from benchmarks import finished_run
from benchmarks.finished_run import LAYER_BATCH, Run, heading, measure_named

RAW, PAGE = Path("raw.json"), Path("page.md")


@pytest.fixture
def run(tmp_path):
    """A run of a small network with all of its validation pictures."""
    onnx.save(network("Clip"), tmp_path / "model.onnx")
    dataset = make_dataset(400)
    return Run(tmp_path / "model.onnx", model_params(image_size=SIDE), dataset,
               dataset.splits["validation"])


def test_a_model_says_the_same_from_its_file_and_from_memory(run):
    logits = run.logits_at(run.source)
    np.testing.assert_array_equal(logits, run.logits(network("Clip")))
    assert run.accuracy(logits) == np.mean([row.argmax() == label for row, label
                                            in zip(logits, run.labels, strict=True)])


def test_a_class_that_is_turned_round_is_a_flip_and_a_loss(run):
    reference = np.eye(24)[run.labels]
    same = run.against(reference, reference)
    assert (same["drop_pp"], same["flipped"], same["logits_snr_db"]) == (0, 0, 120)
    turned = reference.copy()
    turned[:5] *= -1
    found = run.against(reference, turned)
    assert (found["drop_pp"], found["flipped"]) == (5, 5)
    assert found["drop_low_pp"] < 5 < found["drop_high_pp"]
    assert found["logits_snr_db"] == round(10 * np.log10(100 / 20), 2)


def test_calibration_pictures_come_in_batches(run):
    assert [len(batch) for batch in run.batches()] == [LAYER_BATCH, 50 - LAYER_BATCH]


def test_a_record_takes_the_place_of_its_name_alone(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program", "second", "--run", "there", "--pictures", "7"])
    monkeypatch.setattr(finished_run, "open_run", lambda folder, pictures: SimpleNamespace(
        folder=folder, pictures=pictures, facts=run.facts))
    RAW.write_text(json.dumps({"first": {"found": 1}, "second": {**run.facts(), "found": 2}}))
    PAGE.write_text("<!-- block -->\n<!-- /block -->\n")

    def measure(asked):
        return {**run.facts(), "found": f"{asked.pictures} of {asked.folder}"}

    def told(content):
        return f"{content['first']['found']}, {content['second']['found']}"

    measure_named("A program.", RAW, PAGE, "block", measure, told)
    content = json.loads(RAW.read_text())
    assert list(content) == ["first", "second"]
    assert list(content["second"]) == [*run.facts(), "found", "system"]
    assert PAGE.read_text() == "<!-- block -->\n\n1, 7 of there\n<!-- /block -->\n"
    content["second"]["model"] = "another"
    RAW.write_text(json.dumps(content))
    assert "'second' was measured with another model" in refusal(
        measure_named, "A program.", RAW, PAGE, "block", measure, told)


def test_heading_tells_what_was_measured_on(run):
    assert heading("small", {**run.facts(), "float_accuracy": 0.5}) == (
        f"small: {run.params.name} at {SIDE} px, 100 validation pictures of bands, float accuracy "
        "50.0 %.")
