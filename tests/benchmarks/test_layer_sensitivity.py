"""Sensitivity by layer, of a small network of which one layer is spoiled by rounding."""

import onnx
import pandas as pd
import pytest
from inverted_residual import SIDE, network
from onnx import numpy_helper
from synthetic import a_system, make_dataset, model_params, recipe

from benchmarks import layer_sensitivity
from benchmarks.finished_run import Run
from benchmarks.layer_sensitivity import measure_layers, table, time_by_layer
from stages.measurement.node_time import node_times
from stages.quantization.sensitivity import layers_of
from stages.quantization.source import load_float_model

LAYERS = ["stem_w", "one_expand_w", "one_depthwise_w", "one_project_w", "two_expand_w",
          "two_depthwise_w", "two_project_w", "head_w"]


def named(activation, **scales):
    """The network, its nodes named by what they write; scales: of a weight's first channel."""
    model = network(activation)
    for node in model.graph.node:
        node.name = node.output[0]
    for tensor in model.graph.initializer:
        if tensor.name in scales:
            values = numpy_helper.to_array(tensor).copy()
            values[0] *= scales[tensor.name]
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


def a_millisecond_a_node(*arguments):
    return node_times(*arguments).assign(ms=1.0)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """Weights per tensor; a channel of the second expansion is 1000 times as wide, and not read."""
    path = tmp_path_factory.mktemp("sensitivity") / "model.onnx"
    model = named("Relu", two_expand_w=1000, two_depthwise_w=0)
    onnx.save(model, path)
    dataset = make_dataset(200)
    run = Run(path, model_params(image_size=SIDE), dataset, dataset.splits["validation"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_sensitivity, "node_times", a_millisecond_a_node)
        return {**measure_layers(run, recipe(per_channel=False)), "system": a_system()}


def test_the_layer_that_rounding_spoils_has_the_noisiest_output_and_logits(record):
    rows = record["layers"]
    assert [row["layer"] for row in rows] == LAYERS
    for key in ("output_snr_db", "logits_snr_db"):
        assert min(rows, key=lambda row: row[key])["layer"] == "two_expand_w"
    assert record["all"]["logits_snr_db"] < sorted(row["logits_snr_db"] for row in rows)[1]
    for row in rows:
        assert row["drop_low_pp"] < row["drop_pp"] < row["drop_high_pp"]
        assert row["macs"] > 0


def test_every_layer_takes_a_share_of_the_time(record):
    for key in ("float_ms", "int8_ms"):
        assert all(row[key] >= 1 for row in record["layers"])
        # Where ONNX Runtime has layouts of its own, changing them is no layer's.
        assert sum(row[key] for row in record["layers"]) <= record["all"][key] * (1 + 1e-9)


def test_times_go_to_the_layer_whose_node_or_output_they_name(tmp_path):
    onnx.save(named("Clip"), tmp_path / "model.onnx")
    model = load_float_model(tmp_path / "model.onnx")
    times = pd.DataFrame({"node": ["stem_a_nchwc", "stem_token_3", "one_project", "logits",
                                   "Transpose_token_9", "ReorderOutput"],
                          "operator": "Conv", "ms": [1.0, 2, 4, 8, 16, 32]})
    assert time_by_layer(model, layers_of(model), times) == [3, 0, 0, 4, 0, 0, 0, 8]


def test_the_noisiest_layer_stands_first_and_those_not_listed_are_one_row(record, monkeypatch):
    monkeypatch.setattr("benchmarks.layer_sensitivity.LISTED", 3)
    lines = table("small", record).splitlines()
    rows = [line.split(" | ")[0] for line in lines[4:9]]
    assert rows[0] == "| `two_expand_w`"
    assert rows[3:] == ["| each of the other 5", "| **all**"]
    shown = [float(line.split(" | ")[3].removesuffix(" dB")) for line in lines[4:7]]
    assert shown == sorted(shown)


def test_correlations_tell_which_noise_goes_with_predictions_changed(record):
    rows = [{**row, "logits_snr_db": 40.0 - place, "output_snr_db": 40.0 + place, "flipped": place}
            for place, row in enumerate(record["layers"])]
    told = table("small", {**record, "layers": rows}).splitlines()[-1]
    assert told == ("Rank correlation over all layers: of predictions changed with the noise of "
                    "the logits 1.00, with the noise of the layer's own output -1.00.")
