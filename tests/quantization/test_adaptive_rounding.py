"""Adaptive rounding: of a layer whose answer is known, and of a graph."""

import copy

import numpy as np
import onnx
import pytest
from linear_bottlenecks import SIDE, bottlenecks
from onnx import helper, numpy_helper
from run_onnx import model_of
from synthetic import model_params, recipe

from stages.inference.predictor import load_onnx, predict
from stages.onnx_graph.layers import arrays_of, weights_of
from stages.quantization import adaptive_rounding, layer_rows
from stages.quantization.adaptive_rounding import (
    HELD_OUT,
    Problem,
    bias_of,
    choose,
    descend,
    make_problem,
    round_adaptively,
)
from stages.quantization.layer_rows import layers_to_round, rows_of_input, rows_of_outputs
from stages.quantization.static import Calibrated, feeds_of
from stages.quantization.stored_weights import stored_weights

LAYERS = ["stem", "expand", "depthwise", "project", "expand2", "head"]


def problem(weights, rows=400):
    """One output; its inputs are all the same, so that only the sum of its weights matters."""
    weights = np.array([[weights]], dtype=np.float32)
    common = np.random.default_rng(0).uniform(1, 2, (1, rows, 1)).astype(np.float32)
    inputs = np.repeat(common, weights.shape[2], axis=2)
    ones = np.ones_like(weights)
    return Problem(inputs, inputs @ weights.swapaxes(1, 2), weights, -ones, ones)


def test_sum_is_kept_where_rounding_to_the_nearest_loses_it():
    """Eight times 0.3 is 2.4: two weights go up, 0.4 of 2.4 is left."""
    chosen, ratio = choose(problem([0.3] * 8))
    assert sorted(chosen.flatten()) == [0] * 6 + [1] * 2
    assert ratio == pytest.approx((0.4 / 2.4) ** 2, rel=1e-3)


@pytest.mark.parametrize("weights", [[1, 0, 0], [0.6, -0.6, 0.1], [0, 0, 0]])
def test_nearest_is_kept_where_nothing_is_better(weights):
    exact = problem(weights)
    chosen, ratio = choose(exact)
    np.testing.assert_array_equal(chosen, exact.nearest())
    assert ratio == 1


def test_nearest_is_kept_where_what_was_taught_does_not_hold_for_other_rows():
    misled = problem([0.3] * 8)
    misled.targets[:, ::HELD_OUT] = 0
    chosen, ratio = choose(misled)
    assert not chosen.any()
    assert ratio == 1


def test_what_only_the_judges_show_is_not_learned():
    shown = problem([0.3] * 8)
    shown.targets[:] = 0
    shown.targets[:, ::HELD_OUT] = 2.4 * shown.inputs[:, ::HELD_OUT, :1]
    assert not choose(shown)[0].any()


def test_each_output_is_judged_by_itself():
    good, misled = problem([0.3] * 8), problem([0.3] * 8)
    misled.targets[:, ::HELD_OUT] = 0
    both = Problem(good.inputs, *(np.concatenate([getattr(each, name) for each in (good, misled)],
                                                 axis=axis)
                                  for name, axis in (("targets", 2), ("weights", 1), ("least", 1),
                                                     ("most", 1))))
    chosen, _ = choose(both)
    assert chosen[0, 0].sum() == 2
    assert not chosen[0, 1].any()


def test_no_weight_goes_beyond_what_it_may_be():
    chosen, _ = choose(problem([1.4] * 8))
    assert chosen.max() == 1


def test_descent_never_raises_the_error():
    rng = np.random.default_rng(2)
    inputs = rng.standard_normal((3, 200, 10)).astype(np.float32) @ rng.standard_normal(
        (3, 10, 10)).astype(np.float32)
    weights = rng.uniform(-5, 5, (3, 4, 10)).astype(np.float32)
    limits = np.full_like(weights, 7)
    each = Problem(inputs, inputs @ weights.swapaxes(1, 2), weights, -limits, limits)
    every = np.ones(200, dtype=bool)
    found = descend(each, each.nearest(), every)
    before, after = (each.error(one, every) for one in (each.nearest(), found))
    assert (after <= before * 1.0001).all()
    assert after.sum() < 0.8 * before.sum()
    assert np.abs(found - weights).max() < 1
    np.testing.assert_array_equal(found, np.rint(found))


@pytest.fixture(scope="module")
def case(dataset, tmp_path_factory):
    """Path of the float model, the prepared one, the quantized one, parameters, calibration."""
    folder = tmp_path_factory.mktemp("rounding")
    source, target, params = folder / "fp32.onnx", folder / "int8.onnx", model_params(
        image_size=SIDE)
    onnx.save(bottlenecks(), source)
    pictures = dataset.view("calibration")[:]
    base = Calibrated.of(source, recipe(), params, pictures)

    def feeds():
        return feeds_of(pictures, params)

    base.write(target)
    return source, base.model, onnx.load(target), params, feeds


def rounded(case):
    _, prepared, quantized, _, feeds = case
    result = copy.deepcopy(quantized)
    return result, round_adaptively(result, prepared, feeds)


def test_rows_of_a_layer_are_its_product(case):
    """Fed with the float model's own input, each layer's rows give the float layer's rows."""
    _, prepared, quantized, _, feeds = case
    stored, floats = stored_weights(quantized), weights_of(prepared)
    layers = layers_to_round(prepared, set(stored))
    assert [layer.name for layer in layers] == LAYERS
    pictures = sum(len(feed["input"]) for feed in feeds())
    wanted = rows_of_outputs(prepared, layers[1:], feeds, pictures)
    for layer in layers[1:]:
        node = next(each for each in quantized.graph.node if each.name == layer.node.name)
        inputs = rows_of_input(prepared, layer, layer.node.input[0], feeds, pictures)
        made = make_problem(layer, stored[layer.name], floats[layer.name], inputs,
                            wanted[layer.number] - bias_of(node, quantized, stored))
        error = made.error(made.weights, slice(None))
        assert error.mean() < 1e-4 * np.square(made.targets).mean(), layer.name


def test_only_weights_change_and_by_one_step_at_most(case):
    result, record = rounded(case)
    quantized = case[2]
    assert [row["layer"] for row in record] == LAYERS
    assert [node.SerializeToString() for node in result.graph.node] == \
        [node.SerializeToString() for node in quantized.graph.node]
    changed = set()
    for old, new in zip(quantized.graph.initializer, result.graph.initializer, strict=True):
        before, after = (numpy_helper.to_array(each) for each in (old, new))
        assert (old.name, before.dtype, before.shape) == (new.name, after.dtype, after.shape)
        if not np.array_equal(before, after):
            changed.add(old.name.removesuffix("_quantized"))
            assert np.abs(after.astype(int) - before.astype(int)).max() == 1
    assert changed == {row["layer"] for row in record if row["weights_changed"] > 0} != set()
    assert all(row["error_ratio"] < 1 or row["weights_changed"] == 0 for row in record)


def test_the_same_graph_every_time(case):
    assert rounded(case)[0].SerializeToString() == rounded(case)[0].SerializeToString()


def test_logits_come_nearer_to_the_float_model(case, dataset, tmp_path):
    """Weights of few levels, so that their rounding is what is lost."""
    source, prepared, quantized, params, feeds = case
    coarse = copy.deepcopy(quantized)
    for tensor in coarse.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if tensor.name.removesuffix("_scale") in LAYERS:
            tensor.CopyFrom(numpy_helper.from_array(array * np.float32(16), tensor.name))
        elif tensor.name.removesuffix("_quantized") in LAYERS:
            tensor.CopyFrom(numpy_helper.from_array(np.rint(array / 16).astype(np.int8),
                                                    tensor.name))
        elif array.dtype == np.int32:  # biases count in steps of the weights
            tensor.CopyFrom(numpy_helper.from_array(np.rint(array / 16).astype(np.int32),
                                                    tensor.name))
        elif tensor.name.endswith("_quantized_scale"):
            tensor.CopyFrom(numpy_helper.from_array(array * np.float32(16), tensor.name))
    pictures = dataset.view("validation")[:]
    reference = predict(load_onnx(source), pictures, params)

    def error(model, name):
        onnx.save(model, tmp_path / name)
        logits = predict(load_onnx(tmp_path / name), pictures, params)
        return np.square(logits - reference).mean()

    before = error(coarse, "before.onnx")
    round_adaptively(coarse, prepared, feeds)
    assert error(coarse, "after.onnx") < 0.7 * before


def test_layers_that_are_no_plain_product_of_their_own_are_left_out():
    """A convolution over one side, two that share their weights, one that pads by itself, and
    fully connected layers with a factor or with their input the other way round.
    """
    shapes = {"line": (4, 3, 3), "shared": (4, 4, 1, 1), "own": (4, 4, 1, 1),
              "padded": (4, 4, 3, 3), "alpha": (4, 4), "beta": (4, 4), "turned": (4, 1),
              "plain": (4, 4)}
    nodes = [helper.make_node("Conv", ["x", "line"], ["a"]),
             *(helper.make_node("Conv", [source, weight], [made]) for source, weight, made in (
                 ("p", "shared", "b"), ("b", "shared", "c"), ("c", "own", "d"))),
             helper.make_node("Conv", ["p", "padded"], ["e"], auto_pad="SAME_UPPER"),
             *(helper.make_node("Gemm", ["row", weight], [f"of_{weight}"], transB=1, **options)
               for weight, options in (("alpha", {"alpha": 2.0}), ("beta", {"beta": 2.0}),
                                       ("turned", {"transA": 1}), ("plain", {})))]
    model = model_of(nodes, {"x": [1, 3, 9], "p": [1, 4, 9, 9], "row": [1, 4]}, {"d": None},
                     {name: np.ones(shape, np.float32) for name, shape in shapes.items()})
    layers = layers_to_round(model, set(shapes))
    assert [layer.name for layer in layers] == ["own", "plain"]


def test_layers_too_large_to_be_rounded_in_time_stay_as_they_are(case, monkeypatch, caplog):
    caplog.set_level("INFO")
    prepared = case[1]
    products = {layer.name: layer.shape[0] * np.prod(layer.shape[1:])**2
                for layer in layers_to_round(prepared, set(LAYERS))}
    largest = max(products, key=products.get)
    monkeypatch.setattr(adaptive_rounding, "PRODUCTS", products[largest] - 1)
    assert [row["layer"] for row in rounded(case)[1]] == [
        name for name in LAYERS if products[name] < products[largest]]
    assert f"rounding: {largest}, weights of " in caplog.text


def test_a_bias_that_is_left_out_by_an_empty_name():
    for inputs in (["x", "w", ""], ["x", "w"]):
        model = model_of([helper.make_node("Gemm", inputs, ["y"])], {"x": [None, 6]},
                         {"y": [None, 4]}, {"w": np.zeros((6, 4), np.float32)})
        assert bias_of(model.graph.node[0], model, {}) == 0


def test_a_matrix_product_over_several_axes_is_rounded_too():
    """As exporters write a fully connected layer of tokens, its weight the other way round."""
    rng = np.random.default_rng(3)
    floats = rng.uniform(-1, 1, (6, 4)).astype(np.float32)
    tokens = (1 + rng.uniform(0, 1, (40, 5, 1)) + np.zeros((40, 5, 6))).astype(np.float32)
    scale = np.float32([0.5, 0.25, 0.4, 0.3])
    quantized = model_of(
        [helper.make_node("DequantizeLinear", ["w_quantized", "scale", "zero"], ["w"], axis=1),
         helper.make_node("MatMul", ["input", "w"], ["y"])],
        {"input": [None, 5, 6]}, {"y": [None, 5, 4]},
        {"w_quantized": np.rint(floats / scale).astype(np.int8), "scale": scale,
         "zero": np.zeros(4, np.int8)})
    source = model_of([helper.make_node("MatMul", ["input", "w"], ["y"])],
                      {"input": [None, 5, 6]}, {"y": [None, 5, 4]}, {"w": floats})

    def error():
        return np.square(tokens @ (arrays_of(quantized)["w_quantized"] * scale - floats)).sum()

    before = error()
    [row] = round_adaptively(quantized, source, lambda: iter([{"input": tokens}]))
    assert row["layer"] == "w"
    assert row["error_ratio"] < 0.5
    assert error() < 0.5 * before
    assert arrays_of(quantized)["w_quantized"].shape == (6, 4)


def test_of_many_rows_a_picture_some_are_drawn_the_same_in_every_model(monkeypatch):
    """As the tokens of a transformer, whose Gemm takes those of all pictures at once."""
    monkeypatch.setattr(layer_rows, "ROWS", 30)
    weight = np.arange(8, dtype=np.float32).reshape(2, 4)
    nodes = [helper.make_node("Reshape", ["input", "shape"], ["r"]),
             helper.make_node("Gemm", ["r", "w"], ["y"], transB=1)]
    model = model_of(nodes, {"input": [None, 3, 8, 8]}, {"y": [None, 2]},
                     {"w": weight, "shape": np.array([-1, 4])})
    batches = [np.random.default_rng(count).standard_normal((count, 3, 8, 8)).astype(np.float32)
               for count in (4, 2)]

    def feeds():
        return iter([{"input": batch} for batch in batches])

    [layer] = layers_to_round(model, {"w"})
    inputs = rows_of_input(model, layer, "r", feeds, 6)
    outputs = rows_of_outputs(model, [layer], feeds, 6)[layer.number]
    assert inputs.shape == (30, 4)
    np.testing.assert_allclose(inputs @ weight.T, outputs, rtol=1e-5)
    assert len(np.unique(inputs, axis=0)) == 30
    monkeypatch.setattr(layer_rows, "ROWS", 1000)
    assert len(rows_of_input(model, layer, "r", feeds, 6)) == 6 * 3 * 8 * 8 / 4
