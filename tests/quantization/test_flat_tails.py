"""Ranges are cut off where the activation behind them is flat, and nowhere else."""

import numpy as np
import pytest
from inverted_residual import SIDE, network
from onnx import helper
from run_onnx import run
from scipy.special import expit
from synthetic import random_batch

from stages.quantization.calibration import calibrate
from stages.quantization.flat_tails import HARD_SWISH_FLAT, SILU_FLAT, cut_flat_tails
from stages.quantization.ranges import ACTIVATION_LEVELS

WIDE_RANGE = (np.float32(-80), np.float32(40))


def all_wide(model):
    return {node.output[0]: WIDE_RANGE for node in model.graph.node}


def test_what_silu_reads_ends_at_its_flat_tail_and_all_else_stays():
    model = network("SiLU")
    before = all_wide(model)
    ranges = cut_flat_tails(model, before)
    assert before == all_wide(model), "the argument was changed"
    cut = {name for name, (lowest, highest) in ranges.items() if (lowest, highest) != WIDE_RANGE}
    assert cut == {"stem", "one_expand", "one_depthwise", "two_expand", "two_depthwise", "head"}
    assert {ranges[name] for name in cut} == {(SILU_FLAT, WIDE_RANGE[1])}


@pytest.mark.parametrize("activation", ["Clip", "Relu"])
def test_other_activations_keep_their_ranges(activation):
    model = network(activation)
    assert cut_flat_tails(model, all_wide(model)) == all_wide(model)


def test_hard_swish_is_cut_where_it_is_zero():
    model = network("Relu")
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type = "HardSwish"
    assert cut_flat_tails(model, all_wide(model))["stem"] == (-3, 40)


def test_hard_swish_is_cut_as_the_exporter_writes_it(exported):
    """The exporter writes a HardSigmoid and a product; gates of squeeze-excitation are another's.
    """
    proto = exported("mobilenet_v3_small", 32, 13, "torchvision")[2]
    ranges = cut_flat_tails(proto, all_wide(proto))
    cut = [lowest for lowest, _ in ranges.values() if lowest != WIDE_RANGE[0]]
    assert len(cut) == 19
    np.testing.assert_allclose(cut, HARD_SWISH_FLAT, rtol=1e-6)


@pytest.mark.parametrize("change", ["read elsewhere", "an output", "product with something else"])
def test_a_tensor_that_something_else_depends_on_keeps_its_range(change):
    model = network("SiLU")
    nodes = {node.output[0]: node for node in model.graph.node}
    if change == "read elsewhere":
        model.graph.node.append(helper.make_node("Relu", ["stem"], ["other"]))
    elif change == "an output":
        model.graph.output.append(helper.make_empty_tensor_value_info("stem"))
    else:
        nodes["stem_a"].input[1] = "one_expand_gate"
    assert cut_flat_tails(model, all_wide(model))["stem"] == WIDE_RANGE


@pytest.mark.parametrize(("found", "expected"), [((-2, 5), (-2, 5)), ((-20, -10), (-6, -6))])
def test_a_range_is_never_widened_nor_turned_round(found, expected):
    model = network("SiLU")
    ranges = {"stem": tuple(map(np.float32, found))}
    assert cut_flat_tails(model, ranges) == {"stem": expected}


def test_below_the_cut_silu_and_hard_swish_hardly_change():
    below = np.linspace(-100, SILU_FLAT, 1000)
    assert np.abs(below * expit(below)).max() < 0.015
    below = np.linspace(-100, HARD_SWISH_FLAT, 1000)
    assert not (below * np.clip(below / 6 + 0.5, 0, 1)).any()


def test_silu_of_a_rounded_tensor_is_nearer_with_the_cut():
    model = network("SiLU")
    feeds = [{"input": 30 * random_batch(4, SIDE)}]
    ranges = calibrate(model, "minmax", iter(feeds))
    assert ranges["stem"][0] < 2 * SILU_FLAT
    values, = run(model, feeds[0], ["stem"])

    def error(lowest, highest):
        step = (highest - lowest) / (ACTIVATION_LEVELS - 1)
        rounded = np.clip(values, lowest, highest) / step
        rounded = np.round(rounded) * step
        silu = [array * expit(array) for array in (values, rounded)]
        return float(np.square(silu[0] - silu[1]).mean())

    assert error(*cut_flat_tails(model, ranges)["stem"]) < 0.8 * error(*ranges["stem"])
