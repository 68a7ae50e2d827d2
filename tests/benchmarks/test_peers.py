"""The comparison with other toolkits: its table by hand, and a peer that fails."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from refusals import refusal
from synthetic import a_system, random_batch, random_pictures, recipe
from tiny_model import PARAMS, SIDE, tiny_body, write_deployed

from benchmarks import untrained
from benchmarks.peers import __main__ as command
from benchmarks.peers import entrants
from benchmarks.peers.__main__ import add
from benchmarks.peers.entrants import gather
from benchmarks.peers.measure import measured
from benchmarks.peers.quantizers import PEERS
from benchmarks.peers.subject import Subject, fresh_model
from benchmarks.peers.table import (
    SEVERAL,
    SINGLE,
    best_peer,
    comparison,
    page_of,
    section,
    title,
)
from benchmarks.raw_data import measured_before
from stages.config.schema import REFERENCE
from stages.deployment.runtime import load_deployed
from stages.inference.predictor import load_onnx, model_input
from stages.quantization.recipe import record_recipe


def times(single, several):
    return {SINGLE: single, SEVERAL: several, "run_by": "ONNX Runtime", "size_mb": 4.0}


def made_up_run(**changes):
    models = {
        REFERENCE: {"kind": "float", **times([4.0, 8.0], [32.0, 32.0])},
        "int8_static": {"kind": "ours", **times([2.0, 2.0], [16.0, 8.0])},
        "int8_static_openvino": {"kind": "ours", **times([1.5, 1.5], [10.0, 10.0])},
        "quick_float": {"kind": "float", **times([1.0, 1.0], [1.0, 1.0])},
        "quick_tuned": {"kind": "tuned", **times([1.0, 1.0], [1.0, 1.0])},
        "peer_one": {"kind": "peer", **times([3.0, 3.0], [64.0, 64.0])},
        "peer_many": {"kind": "peer", **times([6.0, 6.0], [20.0, 20.0])},
        "peer_none": {"kind": "peer", "failed": "no such operator: A|B"}}
    return {"dataset": "bands", "model": "tiny", "image_size": 16, "weights": "none",
            "activation": "keep", "trained": False, "calibration_images": 20,
            "test_images": 1234, "rounds": 2,
            "packages": {"nncf": "3.4.0"}, "models": models, "system": a_system(), **changes}


def rows(text):
    return {line.split(" | ")[0].strip("| "): line for line in text.splitlines()
            if line.startswith("| ")}


def test_best_peer_is_the_fastest_int8_model_of_another_by_batch_size():
    models = made_up_run()["models"]
    assert best_peer(models, SINGLE) == "peer_one"
    assert best_peer(models, SEVERAL) == "peer_many"
    few = {name: models[name] for name in (REFERENCE, "peer_none")}
    assert best_peer(few, SINGLE) is None


def test_comparison_names_the_peer_of_each_batch_size():
    models = made_up_run()["models"]
    assert comparison("int8_static", models) == (
        "int8_static, against the fastest INT8 model of a peer as it comes: with one picture 1.50 "
        "times as fast as peer_one (1.50 to 1.50), in batches of 16 1.88 times as fast as "
        "peer_many (1.38 to 2.38).")
    assert "no peer's" in comparison("int8_static", {"int8_static": models["int8_static"]})


def test_table_of_a_model_that_is_not_trained_says_nothing_of_accuracy():
    text = section(made_up_run())
    assert "Not trained on these pictures (weights: none)" in text
    assert "speed alone" in title(made_up_run())
    assert rows(text)["**int8_static**"] == (
        "| **int8_static** | ONNX Runtime | | | 4.00 MB | 2.00 / 2.00 ms | 1333 images/s "
        "| 3.00× (2.20 to 3.80) | 3.00× (2.20 to 3.80) |")


def test_table_of_a_trained_model_has_accuracy_and_drop():
    run = made_up_run(trained=True)
    run["models"]["int8_static"].update(accuracy=0.5, accuracy_ci95_low=0.25,
                                        accuracy_ci95_high=0.75, accuracy_drop_pp=-0.5)
    assert "1,234 test pictures" in section(run)
    assert "| 50.00 % (25.00 to 75.00) | -0.50 |" in rows(section(run))["**int8_static**"]
    run["models"]["int8_static"].update(accuracy_drop_pp_ci95_low=-1.25,
                                        accuracy_drop_pp_ci95_high=0.75)
    assert "| -0.50 (-1.25 to +0.75) |" in rows(section(run))["**int8_static**"]
    run["models"][REFERENCE].update(run["models"]["int8_static"], kind="float")
    assert "(25.00 to 75.00) | 0 |" in rows(section(run))[REFERENCE]


@pytest.mark.parametrize("ours", [{}, {"int8_static_openvino": {"kind": "ours", "failed": "no"}}])
def test_model_of_ours_that_is_missing_or_fails_leaves_its_cells_empty(ours):
    run = made_up_run()
    del run["models"]["int8_static_openvino"]
    run["models"].update(ours)
    assert rows(page_of({"a run": run}))[title(run)].endswith(
        "| 1.88× (1.38 to 2.38), peer_many | | |")
    assert "int8_static_openvino, against" not in section(run)


def test_every_row_has_as_many_cells_as_the_header():
    lines = rows(section(made_up_run()))
    assert "failed: no such operator: A/B" in lines["peer_none"]
    assert {line.count("|") for line in lines.values()} == {lines["model"].count("|")}


def test_run_replaces_one_of_its_title_and_keeps_the_others(tmp_path):
    raw = tmp_path / "peers.json"
    raw.with_suffix(".md").write_text("top\n<!-- peers -->\n<!-- /peers -->\nend\n")
    elsewhere, one_core = a_system(model="another CPU"), a_system(threads_used=1)
    for changes in ({"image_size": 16, "rounds": 2}, {"image_size": 32, "rounds": 3},
                    {"image_size": 16, "rounds": 5, "system": elsewhere},
                    {"image_size": 16, "rounds": 6, "system": one_core},
                    {"image_size": 16, "rounds": 4}):
        add(made_up_run(**changes), measured_before(raw), raw)
    runs = json.loads(raw.read_text())
    assert [(run["image_size"], run["rounds"]) for run in runs.values()] == [
        (16, 4), (32, 3), (16, 5), (16, 6)]
    page = raw.with_suffix(".md").read_text()
    assert "\n\n".join(map(section, runs.values())) in page
    assert page.count("| 1.50× (1.50 to 1.50), peer_one | 1.88× (1.38 to 2.38), peer_many "
                      "| 2.00× (2.00 to 2.00), peer_one | 2.00× (2.00 to 2.00), peer_many |") == 4
    assert "A CPU (avx2, fma), 1 thread\n" in page
    assert page.startswith("top\n")
    assert page.endswith("end\n")


def test_the_command_keeps_its_run_and_shows_it(tmp_path, monkeypatch, capsys, dataset):
    run, raw = made_up_run(trained=False), tmp_path / "peers.json"
    raw.with_suffix(".md").write_text("<!-- peers -->\n<!-- /peers -->\n")
    monkeypatch.setattr(command, "load_dataset", lambda: dataset)
    monkeypatch.setattr(command, "own_experiment", lambda: Subject(PARAMS, {}, trained=False))
    monkeypatch.setattr(command, "gather", lambda *_: {})
    monkeypatch.setattr(command, "measured", lambda *_: run["models"])
    monkeypatch.setattr(sys, "argv", ["peers", "--rounds", "5", "--output", str(raw)])
    command.main()
    [kept] = json.loads(raw.read_text()).values()
    assert (kept["models"], kept["rounds"]) == (run["models"], 5)
    assert capsys.readouterr().out == section(kept)


def test_versions_of_what_is_installed():
    assert command.installed(("onnxruntime", "no-such-package")) == {
        "onnxruntime": onnxruntime.__version__}


def test_damaged_records_are_told_before_anything_is_measured(tmp_path, monkeypatch, dataset):
    raw = tmp_path / "peers.json"
    raw.write_text("<<<<<<< HEAD")
    raw.with_suffix(".md").write_text("<!-- peers -->\n<!-- /peers -->\n")
    monkeypatch.setattr(command, "load_dataset", lambda: dataset)
    monkeypatch.setattr(command, "own_experiment", lambda: pytest.fail("measured"))
    monkeypatch.setattr(sys, "argv", ["peers", "--output", str(raw)])
    assert "peers.json" in refusal(command.main)


@pytest.mark.parametrize(("reduced", "bits"), [(True, 7), (False, 8)])
def test_the_bits_of_our_weights_are_told(tmp_path, monkeypatch, reduced, bits):
    model = tiny_body()
    record_recipe(model, recipe(reduce_range=reduced), rounded=False, tuned=False)
    paths = {REFERENCE: tmp_path / "float.onnx", "int8_static": tmp_path / "ours.onnx"}
    for path, each in zip(paths.values(), (tiny_body(), model), strict=True):
        onnx.save(each, path)
    monkeypatch.setattr(entrants, "PEERS", {})
    found = gather(Subject(PARAMS, paths, trained=False), random_batch(6, SIDE), tmp_path)
    assert found["int8_static"].facts["weight_bits"] == bits
    run = made_up_run()
    run["models"]["int8_static"]["weight_bits"] = bits
    assert f"**int8_static**, {bits} bits" in rows(section(run))


@pytest.fixture
def tiny(tmp_path):
    """A tiny float model that takes the place of the experiment's, and its calibration input."""
    path = tmp_path / "tiny.onnx"
    onnx.save(tiny_body(), path)
    return Subject(PARAMS, {REFERENCE: path, "int8_static": path}, trained=True), \
        random_batch(6, SIDE), tmp_path


def test_failing_peer_is_told_in_a_line_and_stops_no_other(tiny, dataset, monkeypatch):
    """Whatever fails in its process: here a name that the process does not know."""
    monkeypatch.setattr(entrants, "PEERS", {"unknown": PEERS["nncf_ort"],
                                            "ort_static": PEERS["ort_static"]})
    of, calibration, folder = tiny
    found = gather(of, calibration, folder)
    assert found["unknown"].facts == {"kind": "peer", "failed": "KeyError: 'unknown'"}
    assert [found[name].facts["kind"] for name in (REFERENCE, "int8_static", "ort_static")] == [
        "float", "ours", "peer"]
    quantized = onnx.load(folder / "ort_static.onnx")
    assert "QuantizeLinear" in {node.op_type for node in quantized.graph.node}
    models = measured(found, of.params, dataset, pictures=5, rounds=2)
    ours = models["int8_static"]
    assert models[REFERENCE]["accuracy_drop_pp"] == ours["accuracy_drop_pp"] == 0
    assert ours["accuracy_drop_pp_ci95_low"] < 0 < ours["accuracy_drop_pp_ci95_high"]
    assert "weight_bits" not in models[REFERENCE]
    for name in (REFERENCE, "int8_static", "ort_static"):
        assert len(models[name][SINGLE]) == len(models[name][SEVERAL]) == 2
    assert SINGLE not in models["unknown"]


def test_peer_that_starts_from_a_variant_is_left_out_where_there_is_none(tiny, monkeypatch):
    of, calibration, folder = tiny
    named = "int8_static_openvino"
    monkeypatch.setattr(entrants, "PEERS", {named: PEERS[named]})
    monkeypatch.setattr(entrants, "run_peer", lambda name, folder: folder / f"{name}.onnx")
    assert named in gather(of, calibration, folder)
    without = Subject(of.params, {REFERENCE: of.models[REFERENCE]}, trained=True)
    assert list(gather(without, calibration, folder)) == [REFERENCE]


def test_model_that_does_not_load_is_a_failure_too(tiny, monkeypatch):
    of, calibration, folder = tiny
    (folder / "nncf_ort.onnx").write_bytes(b"no model")
    monkeypatch.setattr(entrants, "run_peer", lambda name, folder: folder / f"{name}.onnx")
    monkeypatch.setattr(entrants, "PEERS", {"nncf_ort": PEERS["nncf_ort"]})
    assert "not an ONNX model" in gather(of, calibration, folder)["nncf_ort"].facts["failed"]


def test_fresh_model_is_there_in_float_and_int8(dataset, tmp_path, monkeypatch):
    """A small network takes the place of the model."""
    monkeypatch.setattr(untrained, "untrained", lambda *_: None)
    monkeypatch.setattr(untrained, "export_onnx", lambda *_: tiny_body())
    fresh = fresh_model("efficientnet_lite0", {"image_size": SIDE}, dataset, tmp_path)
    assert (fresh.trained, fresh.params.image_size) == (False, SIDE)
    batch = model_input(dataset.view("calibration")[:], fresh.params)
    reference, rounded = (load_onnx(fresh.models[name])(batch)
                          for name in (REFERENCE, "int8_static"))
    np.testing.assert_allclose(rounded, reference, atol=0.1 * np.abs(reference).max())


def test_size_that_the_schema_does_not_allow_is_refused(dataset, tmp_path):
    told = refusal(fresh_model, "efficientnet_lite0", {"image_size": 3}, dataset, tmp_path)
    assert "model.image_size: got 3, may be from 8" in told


@pytest.mark.peers
def test_every_peer_makes_a_model_that_runs(tiny):
    of, calibration, folder = tiny
    found = gather(of, calibration, folder)
    assert {name: each.facts.get("failed") for name, each in found.items()} == dict.fromkeys(
        (REFERENCE, "int8_static", *PEERS))
    logits = found[REFERENCE].predictor(calibration)
    for name in PEERS:
        np.testing.assert_allclose(found[name].predictor(calibration), logits, err_msg=name,
                                   atol=0.1 * np.abs(logits).max())


@pytest.mark.peers
@pytest.mark.parametrize("kind", ["float", "static"])
def test_openvino_runs_the_model_to_ship_on_pictures_that_are_not_scaled_down(tmp_path, kind):
    """As README says: it scales down without antialiasing."""
    import openvino

    path = write_deployed(tmp_path / "deploy.onnx", kind)
    ours, theirs = load_deployed(path), openvino.compile_model(path, "CPU")

    def difference(side):
        pictures = random_pictures(4, side, side)
        logits, expected = theirs(pictures)[0], ours.run(pictures)[0]
        return np.abs(logits - expected).max() / np.abs(expected).max()

    assert max(difference(SIDE // 2), difference(SIDE)) < 0.05 < difference(3 * SIDE)
