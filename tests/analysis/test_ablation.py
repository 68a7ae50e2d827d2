"""Cells of the ablation: what each rounds, and what it leaves alone."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx
import pytest
from inverted_residual import SIDE, network
from run_onnx import constants_as_nodes, run
from synthetic import make_dataset, model_params

from benchmarks.ablation_grid import grid
from stages.analysis.ablation import BASE_RECIPE, Cell, write_cell
from stages.analysis.rounding import round_weights
from stages.inference.saturation import EXACT_SUMS
from stages.measurement.noise import signal_to_noise_db
from stages.onnx_graph.census import executed_graph, operator_counts
from stages.onnx_graph.layers import arrays_of, weights_of
from stages.quantization.static import Calibrated
from stages.quantization.stored_weights import dequantized_weights

PARAMS = model_params(image_size=SIDE)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("ablation") / "float.onnx"
    onnx.save(network("SiLU"), path)
    return Calibrated.of(path, BASE_RECIPE, PARAMS, make_dataset(40).view("train")[:])


@pytest.fixture
def write(base, tmp_path):
    def write(*cell, **options):
        target = tmp_path / "cell.onnx"
        write_cell(Cell(*cell, **options), base, target)
        return target
    return write


def logits(path, fused=True):
    batch = np.random.default_rng(0).uniform(-2, 2, (16, 3, SIDE, SIDE)).astype(np.float32)
    return run(path, {"input": batch}, fused=fused)[0]


def snr(base, path):
    return signal_to_noise_db(logits(base.source), logits(path))


def test_nothing_rounded_is_the_float_model(base, write):
    np.testing.assert_array_equal(logits(write("float", "float")), logits(base.source))


def test_weights_that_are_nodes_of_the_file_are_rounded_too(base, write, tmp_path):
    """As in a file of one's own."""
    model = network("SiLU")
    constants_as_nodes(model)
    onnx.save(model, tmp_path / "own.onnx")
    target = tmp_path / "cell.onnx"
    write_cell(Cell("per tensor", "float"), replace(base, source=tmp_path / "own.onnx"), target)
    found = weights_of(onnx.load(target))
    write("per tensor", "float")
    for name, weights in weights_of(onnx.load(target)).items():
        np.testing.assert_array_equal(found[name], weights)
    assert found.keys() == weights_of(base.model).keys()


@pytest.mark.parametrize("per_channel", [False, True])
def test_weights_alone_are_rounded_as_the_formula_says(base, write, per_channel):
    found = weights_of(onnx.load(write("per channel" if per_channel else "per tensor", "float")))
    for name, weights in weights_of(base.model).items():
        np.testing.assert_allclose(found[name], round_weights(weights, per_channel=per_channel),
                                   atol=1e-6)


def test_types_of_weights_differ_in_their_levels(write):
    levels = {}
    for name, cell in (("full", ("per tensor", "static", "QInt8")),
                       ("unsigned", ("per tensor", "static", "QUInt8"))):
        levels[name] = write(*cell).read_bytes()
    assert levels["full"] != levels["unsigned"]
    reduced = dequantized_weights(onnx.load(write("per tensor", "float", reduced=True)))
    assert reduced == {}, "weights alone leave no quantization behind"
    weights = weights_of(onnx.load(write("per tensor", "float", reduced=True)))
    assert all(len(np.unique(values)) <= 2**7 for values in weights.values())
    assert any(len(np.unique(values)) > 60 for values in weights.values())


def test_activations_alone_leave_weights_whole_when_run(base, write):
    """ONNX Runtime rounds float weights between quantized tensors when it loads a model."""
    executed = executed_graph(write("float", "static"))
    kept = [array.ravel() for array in arrays_of(executed).values()]
    for weights in weights_of(base.model).values():
        assert any(len(values) == weights.size and np.array_equal(np.sort(values),
                                                                  np.sort(weights.ravel()))
                   for values in kept)
    assert operator_counts(executed)["QuantizeLinear"] > 5


def test_dynamic_activations_take_the_range_of_the_batch(base, write):
    """At one layer by hand: the stem's input has 256 levels from its least to its largest."""
    model = onnx.load(write("float", "dynamic"))
    stem = next(node for node in model.graph.node if node.op_type == "Conv")
    batch = np.random.default_rng(0).uniform(-3, 1, (2, 3, SIDE, SIDE)).astype(np.float32)
    rounded, = run(model, {"input": batch}, [stem.input[0]])
    step = np.ptp(batch) / 255
    assert 0 < np.abs(rounded - batch).max() <= step / 2 * 1.01
    assert operator_counts(model)["DynamicQuantizeLinear"] == 8


def test_rounding_composed_in_float_is_what_quantize_dynamic_computes(base, write):
    composed, shipped = (logits(write("per tensor", "dynamic", shipped=flag))
                         for flag in (False, True))
    assert signal_to_noise_db(shipped, composed) > 60
    assert signal_to_noise_db(logits(base.source), composed) < 45


def test_more_rounding_loses_more(base, write):
    found = [snr(base, write("per channel", activations, reduced=reduced))
             for activations, reduced in (("float", False), ("float", True), ("static", True))]
    assert all(better > worse for better, worse in pairwise(found)), found


def test_exact_sums_round_the_same_and_add_no_integers(base, write):
    """Against 7 bits, whose integer sums are exact on any CPU."""
    target = write("per channel", "static")
    integers = executed_graph(target)
    assert "QLinearConv" in operator_counts(integers)
    exact = executed_graph(target, EXACT_SUMS["graph_optimization_level"])
    assert "QLinearConv" not in operator_counts(exact)
    target = write("per channel", "static", reduced=True)
    found, floats = logits(target), logits(target, fused=False)
    assert signal_to_noise_db(found, floats) > 50
    assert signal_to_noise_db(logits(base.source), floats) < 45


def test_every_cell_runs(base, write):
    """Rounding changes the logits, and what is float leaves them."""
    exact = logits(base.source)
    for name, cell in grid().items():
        found = logits(write(*vars(cell).values()))
        if (cell.weights, cell.activations) == ("float", "float"):
            np.testing.assert_array_equal(found, exact, name)
        else:
            assert -5 < signal_to_noise_db(exact, found) < 60, name
