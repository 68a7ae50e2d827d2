"""The autopsy on a small network: restarted by cell, and its page drawn."""

import json
import shutil
import sys
from itertools import islice

import numpy as np
import onnx
import pytest
from inverted_residual import SIDE, network
from omegaconf import OmegaConf
from refusals import refusal
from synthetic import leave_prepared, make_dataset, model_params

from benchmarks import autopsy, autopsy_page, emulated_cpu
from benchmarks.ablation_grid import grid, name_of
from stages.analysis.ablation import Cell
from stages.inference import saturation
from stages.measurement.noise import MOST_DB
from stages.quantization.equalization import find_groups

CELLS = {name_of(cell): cell for cell in (
    Cell("float", "float"), Cell("per tensor", "float"), Cell("per channel", "static"),
    Cell("per tensor", "dynamic", shipped=True))}
PAGE = "before\n<!-- autopsy -->\nold\n<!-- /autopsy -->\nafter\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A finished run in `run`, a page in `docs`, and a grid and twins made few."""
    dataset = make_dataset(60)
    (tmp_path / "run/models").mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/collapse.md").write_text(PAGE, encoding="utf-8")
    onnx.save(network("SiLU"), tmp_path / "run/models/onnx_fp32.onnx")
    OmegaConf.save({"model": model_params(image_size=SIDE)}, tmp_path / "run/params.yaml")
    leave_prepared(tmp_path / "run", dataset)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(autopsy, "POWERS", (2.0,))
    monkeypatch.setattr(autopsy, "grid", lambda: CELLS)
    monkeypatch.setattr(autopsy, "published_model", lambda size: network("Clip"))
    return tmp_path


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["autopsy", *arguments])
    autopsy.main()
    return json.loads(autopsy_page.DATA.read_text(encoding="utf-8"))


def test_every_cell_of_model_and_twin_and_a_page_from_them(folder, monkeypatch):
    record = run(monkeypatch, "small", "--run", "run")["small"]
    assert list(record["twins"]) == ["as trained", "spread to the power of 2"]
    for twin in record["twins"].values():
        assert list(twin["cells"]) == list(CELLS)
        assert twin["float_logits_change"] < 1e-4
        found = twin["cells"][name_of(Cell("float", "float"))]
        assert (found["same_class"], found["logits_snr_db"]) == (1.0, MOST_DB)
        assert len(twin["cells"][name_of(Cell("per tensor", "float"))]["layers_snr_db"]) == 8
    trained, wide = (twin["spread"]["weights"] for twin in record["twins"].values())
    assert wide[0] > trained[0]
    page = (folder / "docs/collapse.md").read_text(encoding="utf-8")
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "old" not in page
    assert "<summary>small: " in page
    for path in (autopsy_page.GRID, autopsy_page.LAYERS, autopsy_page.SPREAD):
        assert 5_000 < path.stat().st_size < 200_000


def test_a_run_that_was_stopped_measures_only_what_is_missing(folder, monkeypatch):
    measured = []

    def measure(cell, name, *others):
        measured.append(name)
        if len(measured) == 3:
            raise KeyboardInterrupt
        return {"accuracy": 0.5, "same_class": 0.5, "logits_snr_db": 1.0,
                **({"layers_snr_db": [1.0, None]} if name in autopsy_page.LAYER_CELLS else {})}

    monkeypatch.setattr(autopsy, "measure_cell", measure)
    monkeypatch.setattr(autopsy, "draw", lambda content: None)
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, "small", "--run", "run")
    first = list(CELLS)
    run(monkeypatch, "small", "--run", "run")
    assert measured == [*first[:3], *first[2:], *first]
    run(monkeypatch, "small", "--run", "run")
    assert len(measured) == 9
    told = refusal(run, monkeypatch, "small", "--run", "run", "--pictures", "3")
    assert told == ("docs/collapse.json: 'small' was measured with another validation_images; "
                    "choose another name, or delete it there")


def test_integer_cells_are_those_with_integer_arithmetic():
    cells = autopsy.integer_cells(with_dynamic=True)
    assert name_of(Cell("float", "static")) not in cells
    assert {cell.activations for cell in cells.values()} == {"static", "dynamic"}
    assert len(cells) == 9
    assert {cell.activations for cell in autopsy.integer_cells(with_dynamic=False).values()} == {
        "static"}


@pytest.mark.parametrize("cuts_off", [False, True])
def test_a_cpu_without_vnni_measures_its_own_part(folder, monkeypatch, cuts_off):
    """The grid with sums in float there, and the integer model beside."""
    for program in (autopsy, saturation):
        monkeypatch.setattr(program, "products_saturate", lambda: cuts_off)
    written, write, logits_at = [], autopsy.write_cell, autopsy.Run.logits_at

    def spy(cell, source, target):
        written.append(name_of(cell))
        write(cell, source, target)

    def spied_logits(run, path, **session):
        if path.name == "cell.onnx":
            written.append(bool(session))
        return logits_at(run, path, **session)

    monkeypatch.setattr(autopsy, "write_cell", spy)
    monkeypatch.setattr(autopsy.Run, "logits_at", spied_logits)
    record = run(monkeypatch, "small", "--run", "run")["small"]
    static = name_of(Cell("per channel", "static"))
    page = (folder / "docs/collapse.md").read_text(encoding="utf-8")
    in_grid = [told for name in CELLS for told in (name, cuts_off)] * 2
    if not cuts_off:
        assert written == in_grid
        assert record["cut_off"] == {}
        assert "as with VNNI" not in page
        return
    assert written == [*in_grid, static, True, False]
    assert list(record["cut_off"]["cells"]) == [static]
    assert record["cut_off"]["cells"][static]["accuracy"] == \
        record["twins"]["as trained"]["cells"][static]["accuracy"]
    assert "| as with VNNI | without (this CPU) |" in page


def test_drawing_alone_needs_something_measured(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["autopsy"])
    assert refusal(autopsy.main) == \
        "docs/collapse.json: no such file; name a model to measure"


def test_integer_cells_run_on_the_emulated_cpu_too(folder, monkeypatch):
    def run_on_both(path, inputs, labels, cpu):
        assert path.is_file()
        assert (inputs.shape, labels.shape) == ((5, 3, SIDE, SIDE), (5,))
        return {"accuracy": 1.0, "cut_off_accuracy": 0.5, "max_logit_change": 2.0}, {"told": cpu}

    monkeypatch.setattr(shutil, "which", lambda name: name)
    for program in (autopsy, emulated_cpu):
        monkeypatch.setattr(program, "products_saturate", lambda: False)
    monkeypatch.setattr(autopsy, "run_on_both", run_on_both)
    monkeypatch.setattr(autopsy, "EMULATED_PICTURES", 5)
    record = run(monkeypatch, "small", "--run", "run", "--emulate", "Haswell")["small"]
    found = {"accuracy": 1.0, "cut_off_accuracy": 0.5, "max_logit_change": 2.0}
    assert record["cut_off"] == {"by": "Haswell, emulated", "images": 5, "cells": {
        name_of(Cell("per channel", "static")): found,
        name_of(Cell("per tensor", "dynamic", shipped=True)): found}}


@pytest.mark.parametrize(("main", "arguments"), [
    (autopsy.main, ["small", "--emulate", "Haswell"]), (emulated_cpu.main, [])])
def test_nothing_is_emulated_on_a_cpu_without_vnni(main, arguments, monkeypatch):
    monkeypatch.setattr(emulated_cpu, "products_saturate", lambda: True)
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    assert refusal(main) == ("this CPU has no VNNI itself; an emulated one would tell nothing else")


def test_emulation_without_a_model_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["autopsy", "--emulate", "Haswell"])
    with pytest.raises(SystemExit):
        autopsy.main()
    assert "--emulate needs the name of a model" in capsys.readouterr().err


def test_grid_has_a_place_for_every_cell():
    cells = {name: {"accuracy": index / 100} for index, name in enumerate(grid())}
    table = autopsy_page.accuracy_grid(cells)
    assert sorted(table.stack().dropna()) == pytest.approx(list(range(len(cells))))
    few = dict(islice(cells.items(), 3))
    assert autopsy_page.accuracy_grid(few).notna().to_numpy().sum() == 3


def test_activations_of_a_network_with_relu_spread_as_well():
    """Its last group of tensors ends flattened, and a channel that is dead is no reason to stop."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        net (float[batch, 2, 4, 4] input) => (float[batch, 2] logits)
        <float[3, 2, 1, 1] w = {1,0,0,4,0,0}, float[3] b = {0,0,0}, float[2, 3] v = {1,0,0,0,1,1}>
        {
            a = Conv(input, w, b)
            r = Relu(a)
            pooled = GlobalAveragePool(r)
            flat = Flatten(pooled)
            logits = Gemm<transB = 1>(flat, v)
        }""")
    for number, node in enumerate(model.graph.node):
        node.name = f"node{number}"
    batches = [np.ones((1, 2, 4, 4), np.float32), np.zeros((1, 2, 4, 4), np.float32)]
    groups = find_groups(model)
    assert autopsy.activation_spread(model, groups, batches) == [4.0]
    batches[0][:, 0] = 0  # two of the three
    [spread] = autopsy.activation_spread(model, groups, batches)
    assert np.isfinite(spread)
    assert spread > 4
