"""The first convolution on channels by fours: the same numbers, still in INT8."""

import numpy as np
import onnx
import pytest
from inverted_residual import NARROW, SIDE, network
from onnx import helper
from onnxruntime.quantization import QuantType
from quantized_network import logits, pictures, quantized
from run_onnx import model_of

from stages.onnx_graph.audit import float_nodes
from stages.onnx_graph.census import executed_graph, operator_counts, quantized_and_float
from stages.onnx_graph.layers import arrays_of
from stages.quantization.padded_input import with_padded_input


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return quantized(network("Clip"), tmp_path_factory.mktemp("input"))


@pytest.mark.parametrize("count", [1, 3])
def test_logits_stay_as_they_were(plain, count):
    changed = with_padded_input(plain)
    onnx.checker.check_model(changed, full_check=True)
    np.testing.assert_array_equal(logits(changed, pictures(count)),
                                  logits(plain, pictures(count)))


def test_the_stem_has_four_channels_and_nothing_more_runs_in_float(plain):
    executed = [executed_graph(model.SerializeToString())
                for model in (plain, with_padded_input(plain))]
    before, after = map(operator_counts, executed)
    assert after == {**before, "Pad": 1}
    assert quantized_and_float(after) == quantized_and_float(before)
    assert float_nodes(executed[1]) == float_nodes(executed[0])
    stem = next(node for node in executed[1].graph.node if node.op_type == "QLinearConv")
    weights = arrays_of(executed[1])[stem.input[3]]
    assert weights.shape == (NARROW, 4, 3, 3)
    assert not weights[:, 3].any()
    assert weights[:, :3].any(axis=(1, 2, 3)).all()


def test_it_is_done_once(plain):
    changed = with_padded_input(plain)
    assert changed != plain
    assert with_padded_input(changed) == changed


def test_a_model_in_float_stays():
    model = network("Clip")
    assert with_padded_input(model) == model


@pytest.mark.parametrize("options", [
    {"nodes_to_exclude": ["stem"]}, {"activation_type": QuantType.QInt8}],
    ids=["stem in float", "signed"])
def test_left_as_they_are(options, tmp_path):
    model = quantized(network("Clip"), tmp_path, **options)
    assert with_padded_input(model) == model


def layer(channels=3, group=1, readers=1, shared=False, kernel=1):
    """Quantize, dequantize, and `readers` convolutions of it, on weights that may be shared."""
    weights = np.ones((6, channels // group, kernel, kernel), np.int8)
    side = SIDE + 1 - kernel
    nodes = [helper.make_node("QuantizeLinear", ["input", "scale", "zero"], ["q"]),
             helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
             helper.make_node("DequantizeLinear", ["w", "scale", "weight_zero"], ["dw"])]
    nodes += [helper.make_node("Conv", ["d", "dw"], [f"c{index}"], group=group)
              for index in range(readers)]
    if shared:
        nodes.append(helper.make_node("DequantizeLinear", ["w", "scale", "weight_zero"], ["dw2"]))
    return model_of(nodes, {"input": ["n", channels, SIDE, SIDE]}, {"c0": ["n", 6, side, side]},
                    {"w": weights, "scale": np.float32(0.1), "zero": np.uint8(7),
                     "weight_zero": np.int8(0)})


@pytest.mark.parametrize(("options", "changes"), [
    ({}, True), ({"channels": 1}, True), ({"channels": 6}, True), ({"channels": 8}, False),
    ({"kernel": 4}, True), ({"kernel": 5}, False), ({"group": 3}, False),
    ({"readers": 2}, False), ({"shared": True}, False)])
def test_which_models_change(options, changes):
    model = layer(**options)
    changed = with_padded_input(model)
    assert (changed != model) == changes
    batch = pictures(2, options.get("channels", 3))
    np.testing.assert_array_equal(logits(changed, batch), logits(model, batch))
