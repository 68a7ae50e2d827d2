"""The stage analyze on a small network, as if the CPU cut off sums of integers and as if not."""

import json
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from inverted_residual import SIDE, WIDE, network
from omegaconf import OmegaConf
from onnx import numpy_helper
from refusals import refusal
from synthetic import leave_prepared, make_dataset, model_params

from stages import analyze
from stages.data.dataset import load_dataset
from stages.inference import saturation
from stages.inference.predictor import load_onnx, predict
from stages.inference.saturation import EXACT_SUMS
from stages.onnx_graph.names import FLOAT_FILE
from stages.reporting.tables import recipe_table


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the stages before it leave."""
    dataset = make_dataset(60)
    for name in ("models", "metrics", "plots"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    onnx.save(network("SiLU"), FLOAT_FILE)
    OmegaConf.save({"model": model_params(image_size=SIDE)}, "params.yaml")
    leave_prepared(tmp_path, dataset)
    return tmp_path


@pytest.mark.parametrize("cuts_off", [False, True])
def test_what_the_cpu_cuts_off_is_a_recipe_of_its_own(folder, monkeypatch, cuts_off):
    written, opened = [], []

    def write(cell, *arguments):
        written.append(cell)
        analyze_write(cell, *arguments)

    def load(path, **session):
        opened.append(session)
        return load_onnx(path, **session)

    analyze_write = analyze.write_cell
    monkeypatch.setattr(analyze, "write_cell", write)
    monkeypatch.setattr(analyze, "load_onnx", load)
    monkeypatch.setattr(saturation, "products_saturate", lambda: cuts_off)
    analyze.main()
    accuracy = json.loads(Path("metrics/analysis.json").read_text())["accuracy"]
    dataset = load_dataset()
    predicted = predict(load_onnx(FLOAT_FILE), dataset.view("validation"),
                        model_params(image_size=SIDE)).argmax(axis=1)
    assert accuracy["float"] == np.mean(predicted == dataset.labels_of("validation"))
    own = [analyze.CUT_OFF] if cuts_off else []
    assert list(accuracy) == [*analyze.CELLS, *own]
    assert written == [*analyze.CELLS.values(), *(analyze.CELLS[analyze.PER_CHANNEL]
                                                  for _ in own)]
    assert opened == [EXACT_SUMS if cuts_off else {}] * len(analyze.CELLS) + [{} for _ in own]


def test_rounding_by_channel_leaves_less_noise_and_is_told_as_such(folder):
    analyze.main()
    layers = pd.read_csv("plots/layer_error.csv")
    assert layers.position.tolist() == list(range(len(layers)))
    assert (layers.weight_snr_db_per_channel >= layers.weight_snr_db_per_tensor).all()
    wide = layers.channel_spread > 2
    assert wide.any()
    assert (layers.weight_snr_db_per_channel > layers.weight_snr_db_per_tensor)[wide].all()
    told = json.loads(Path("metrics/analysis.json").read_text())["last_layer_snr_db"]
    assert told["per_channel"] == pytest.approx(layers.output_snr_db_per_channel.iloc[-1], abs=1e-3)
    assert told["per_tensor"] == pytest.approx(layers.output_snr_db_per_tensor.iloc[-1], abs=1e-3)


def test_without_a_float_model(folder):
    FLOAT_FILE.unlink()
    assert refusal(analyze.main) == "models/onnx_fp32.onnx: no such file; run 'dvc repro export'"


def test_a_file_that_is_no_model(folder):
    FLOAT_FILE.write_bytes(b"no model")
    assert "not an ONNX model" in refusal(analyze.main)


def test_layers_that_are_not_taken_apart_are_told(folder, caplog):
    model = onnx.load(FLOAT_FILE)
    output = model.graph.output[0]
    model.graph.initializer.append(numpy_helper.from_array(np.eye(WIDE, dtype=np.float32), "mix"))
    model.graph.node.append(onnx.helper.make_node("MatMul", [output.name, "mix"], ["mixed"],
                                                  name="mixed"))
    output.name = "mixed"
    onnx.save(model, FLOAT_FILE)
    analyze.main()
    assert "1 layers (MatMul, or Gemm without transB) are not taken apart" in caplog.text
    analysis = json.loads(Path("metrics/analysis.json").read_text())
    assert analysis["layers_left_out"] == 1
    assert "1 layers of this model, written as MatMul" in recipe_table(analysis)
