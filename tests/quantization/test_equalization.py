"""Equalization on a graph with linear bottlenecks, a residual chain and ReLU6."""

import numpy as np
import onnx
import pytest
from linear_bottlenecks import NARROW, SIDE, WIDE, bottlenecks
from onnx import TensorProto, helper, numpy_helper
from run_onnx import run
from static_model import quantize_statically
from synthetic import make_dataset, model_params, random_batch, recipe

from stages.inference.predictor import load_onnx, predict
from stages.measurement.noise import signal_to_noise_db
from stages.onnx_graph.layers import arrays_of
from stages.quantization import static
from stages.quantization.equalization import (
    by_input,
    channel_statistics,
    find_groups,
    largest_by_input,
    layer_constants,
    predicted_noise,
    sum_by_input,
    with_equalized_channels,
)
from stages.quantization.ranges import LARGEST_REDUCED_WEIGHT, LARGEST_WEIGHT
from stages.quantization.static import Calibrated

PICTURES = random_batch(6, SIDE, seed=5)


def logits(model, pictures=PICTURES):
    return run(model, {"input": pictures})[0]


def equalized(model, per_channel=True, largest_weight=LARGEST_WEIGHT):
    return with_equalized_channels(model, iter([{"input": PICTURES[:2]}, {"input": PICTURES[2:]}]),
                                   per_channel=per_channel, largest_weight=largest_weight)


def outputs(nodes):
    return {node.output[0] for node in nodes}


def test_groups_are_bottlenecks_with_their_residual_chain_and_what_is_before_the_head():
    chain, end = find_groups(bottlenecks())
    assert (outputs(chain.writers), outputs(chain.readers)) == ({"a", "d"}, {"b", "e"})
    assert set(chain.quantized) == {"a", "d", "s"}
    assert (outputs(end.writers), outputs(end.readers)) == ({"e"}, {"logits"})
    assert set(end.quantized) == {"r", "p", "f"}


@pytest.mark.parametrize("change", ["output", "other reader", "shared weight", "constant sum"])
def test_a_tensor_that_something_else_depends_on_is_left_alone(change):
    model = bottlenecks()
    nodes = {node.name: node for node in model.graph.node}
    if change == "output":
        model.graph.output.append(helper.make_empty_tensor_value_info("s"))
    elif change == "other reader":
        model.graph.node.append(helper.make_node("Sigmoid", ["d"], ["other"]))
    elif change == "shared weight":
        nodes["e"].input[1] = "expand"
    else:
        nodes["s"].input[1] = "bias"
    assert all("a" not in group.quantized or change == "constant sum"
               for group in find_groups(model))
    assert all("d" not in group.quantized for group in find_groups(model))
    # What lies elsewhere is scaled still: but for the last layer's, whose weight is another's here.
    kept = [group.quantized for group in find_groups(model) if "p" in group.quantized]
    assert kept == ([] if change == "shared weight" else [["r", "p", "f"]])


def test_a_tensor_and_a_constant_that_a_branch_reads_are_left_alone():
    model = bottlenecks()

    def branch(name, operator):
        node = helper.make_node(operator, ["d", "seen"], [name])
        return helper.make_graph([node], name, [], [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])

    model.graph.initializer.extend([numpy_helper.from_array(np.array(True), "which"),
                                    numpy_helper.from_array(np.float32([2]), "seen")])
    model.graph.node.append(helper.make_node(
        "If", ["which"], ["chosen"], then_branch=branch("sum", "Add"),
        else_branch=branch("product", "Mul")))
    assert all("d" not in group.quantized for group in find_groups(model))
    assert "seen" in arrays_of(equalized(model))


@pytest.mark.parametrize("per_channel", [True, False])
def test_float_function_is_the_same(per_channel):
    model = bottlenecks()
    before = model.SerializeToString()
    result = equalized(model, per_channel)
    onnx.checker.check_model(result, full_check=True)
    np.testing.assert_allclose(logits(result), logits(model), rtol=1e-5, atol=1e-6)
    other = 9 * random_batch(3, SIDE, seed=9)
    np.testing.assert_allclose(logits(result, other), logits(model, other), rtol=1e-5, atol=1e-5)
    assert model.SerializeToString() == before, "the argument was changed"


def test_dead_channels_stay_as_they_are():
    model = bottlenecks(dead=[1, 4])
    result = equalized(model)
    assert all(np.isfinite(array).all() for array in arrays_of(result).values())
    assert result != model
    np.testing.assert_allclose(logits(result), logits(model), rtol=1e-5, atol=1e-6)


def test_a_sum_that_spreads_one_channel_over_several_is_left_alone():
    model = bottlenecks()
    node = next(node for node in model.graph.node if node.name == "d")
    node.op_type, node.input[:] = "Conv", ["c6", "narrow", "one"]
    model.graph.initializer.extend([
        numpy_helper.from_array(np.ones((1, WIDE, 1, 1), np.float32), "narrow"),
        numpy_helper.from_array(np.ones(1, np.float32), "one")])
    result = equalized(model)
    before, after = arrays_of(model), arrays_of(result)
    for name in ("stem", "narrow", "expand"):
        np.testing.assert_array_equal(after[name], before[name])
    np.testing.assert_allclose(logits(result), logits(model), rtol=1e-5, atol=1e-6)


def test_channels_come_nearer_to_each_other():
    def spread(model):
        seen = channel_statistics(model, ["s"], [{"input": PICTURES}])["s"]
        reach = np.maximum(-seen.lowest, seen.highest)
        return reach.max() / reach.min()

    model = bottlenecks()
    assert spread(model) > 10
    assert spread(equalized(model)) < spread(model) / 3


def test_noise_of_weights_is_that_of_the_steps_they_will_have():
    model = bottlenecks()
    group = find_groups(model)[0]
    seen = channel_statistics(model, group.quantized, [{"input": PICTURES}])

    def noise(largest_weight):
        return predicted_noise(group, layer_constants(model), seen, np.ones(NARROW),
                               per_channel=True, largest_weight=largest_weight)

    activations = noise(np.inf)
    assert (noise(LARGEST_REDUCED_WEIGHT) - activations) / (noise(LARGEST_WEIGHT) - activations) \
        == pytest.approx((127 / 64) ** 2)


@pytest.mark.parametrize(("reduce_range", "largest"), [(False, 127), (True, 64)])
def test_a_recipe_of_seven_bits_is_equalized_for_them(tmp_path, monkeypatch, reduce_range, largest):
    seen = []

    def equalize(model, *_, largest_weight, **__):
        seen.append(largest_weight)
        return model

    monkeypatch.setattr(static, "with_equalized_channels", equalize)
    onnx.save(bottlenecks(), tmp_path / "fp32.onnx")
    Calibrated.of(tmp_path / "fp32.onnx", recipe(equalization=True, reduce_range=reduce_range),
                  model_params(image_size=SIDE), make_dataset().view("calibration")[:])
    assert seen == [largest]


def test_statistics_are_those_of_all_batches():
    seen = channel_statistics(bottlenecks(), ["a", "f"],
                              [{"input": PICTURES[:4]}, {"input": PICTURES[4:]}])
    values = run(bottlenecks(), {"input": PICTURES}, ["a", "f"])
    for name, array, axes in zip("af", values, ((0, 2, 3), (0,)), strict=True):
        np.testing.assert_allclose(seen[name].lowest, array.min(axis=axes))
        np.testing.assert_allclose(seen[name].highest, array.max(axis=axes))
        np.testing.assert_allclose(seen[name].power, np.square(array).mean(axis=axes), rtol=1e-5)


@pytest.mark.parametrize(("groups", "shape"), [(1, (4, 6, 1, 1)), (2, (4, 3, 3, 3)),
                                               (6, (12, 1, 3, 3))])
def test_factors_meet_the_input_channel_that_a_weight_reads(groups, shape):
    rng = np.random.default_rng(1)
    weight, factors = rng.standard_normal(shape), rng.uniform(0.5, 2, 6)
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=groups)
    graph = helper.make_graph(
        [node], "graph", [helper.make_tensor_value_info("x", TensorProto.DOUBLE, None),
                          helper.make_tensor_value_info("w", TensorProto.DOUBLE, None)],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)])
    reference = onnx.reference.ReferenceEvaluator(helper.make_model(graph))
    pictures = rng.standard_normal((1, 6, 5, 5))
    expected = reference.run(None, {"x": pictures * factors[None, :, None, None], "w": weight})[0]
    actual = reference.run(None, {"x": pictures, "w": by_input(node, weight, factors)})[0]
    np.testing.assert_allclose(actual, expected)
    ones = by_input(node, np.ones(shape), np.arange(6.0))
    for channel in range(6):
        read = np.where(ones == channel, weight, 0)
        np.testing.assert_allclose(sum_by_input(node, weight, 6)[channel], read.sum())
        np.testing.assert_allclose(largest_by_input(node, weight, 6)[channel],
                                   np.abs(read).max())


def test_quantized_model_comes_nearer_to_the_float_one(tmp_path):
    dataset, params = make_dataset(), model_params(image_size=SIDE)
    source = tmp_path / "fp32.onnx"
    onnx.save(bottlenecks(), source)
    reference = predict(load_onnx(source), dataset.images, params)
    reached = {}
    for equalization in (False, True):
        target = tmp_path / f"{equalization}.onnx"
        quantize_statically(source, target, recipe(equalization=equalization), params,
                            dataset.view("calibration")[:])
        reached[equalization] = signal_to_noise_db(
            reference, predict(load_onnx(target), dataset.images, params))
    assert reached[True] > reached[False] + 3
