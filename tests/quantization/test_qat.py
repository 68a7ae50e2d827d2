import copy

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from refusals import refusal
from run_onnx import run
from static_model import quantize_statically
from synthetic import LITE0, TINY, model_params, recipe

from stages.config.schema import QatRecipe
from stages.inference.predictor import load_onnx, model_input
from stages.onnx_graph.layers import arrays_of
from stages.onnx_graph.names import INPUT
from stages.quantization.qat import QdqNetwork, fine_tune, random_batches
from stages.quantization.stored_weights import stored_weights

RECIPE = QatRecipe(steps=12, batch_size=16, lr=1e-3, seed=0)


@pytest.fixture(scope="module")
def files(exported, dataset, tmp_path_factory):
    """(float graph, its path, quantized graph, model parameters) of the tiny model."""
    folder = tmp_path_factory.mktemp("qat")
    source, target = folder / "fp32.onnx", folder / "int8.onnx"
    _, params, proto = exported(TINY, 32, 18)
    onnx.save(proto, source)
    quantize_statically(source, target, recipe(per_channel=False), params,
                        dataset.view("calibration")[:])
    return proto, source, onnx.load(target), params


def tuned(files, dataset, qat=RECIPE, teacher=None):
    source, path, quantized, params = files
    result = copy.deepcopy(quantized)
    losses = fine_tune(result, source, teacher or load_onnx(path),
                       random_batches(dataset.images, dataset.splits["train"], qat), qat, params,
                       reduce_range=False)
    return result, losses


@pytest.mark.parametrize("name", [TINY, LITE0])
def test_every_node_gives_what_onnx_runtime_gives(name, files, lite0_files, dataset):
    """Each is fed what ONNX Runtime fed it: else a sum between two steps tips all that follow."""
    source, _, quantized, params = files
    if name == LITE0:
        source, quantized = (onnx.load(lite0_files[key]) for key in ("fp32", "static"))
    names = [node.output[0] for node in quantized.graph.node
             if node.op_type != "QuantizeLinear"
             and node.output[0] != quantized.graph.output[0].name]
    batch = model_input(dataset.view("validation")[:4], params)
    expected = dict(zip(names, run(quantized, {INPUT: batch}, names, fused=False), strict=True))
    network = QdqNetwork(quantized, source, reduce_range=False)
    values = {quantized.graph.input[0].name: torch.from_numpy(batch), **network.constants,
              **{name: network.parameter(name).detach() for name in network.names}}
    checked = set()
    for node in network.nodes:
        with torch.no_grad():
            result = network.run_node(node, values.__getitem__)
        values[node.output[0]] = result
        if node.output[0] in expected:
            wanted = expected[node.output[0]]
            near = np.isclose(result.numpy(), wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
            assert near.mean() > 0.99, node.name
            values[node.output[0]] = torch.from_numpy(wanted)
            checked.add(node.op_type)
    assert {"Conv", "DequantizeLinear", "GlobalAveragePool"} <= checked


def rounded_otherwise(quantized):
    """A copy in which two thirds of the weights are a step from the nearest, as adaptive rounding
    leaves some."""
    result, rng = copy.deepcopy(quantized), np.random.default_rng(0)
    stored = {weight.name: weight.integers for weight in stored_weights(result).values()
              if weight.integers.dtype == np.int8}
    assert stored
    for tensor in result.graph.initializer:
        if tensor.name in stored:
            old = stored[tensor.name]
            new = np.clip(old + rng.integers(-1, 2, old.shape), -127, 127).astype(np.int8)
            tensor.CopyFrom(numpy_helper.from_array(new, tensor.name))
    return result


@pytest.mark.parametrize("rounding", [copy.deepcopy, rounded_otherwise])
def test_writing_back_what_was_read_changes_nothing(files, rounding):
    source, _, quantized, _ = files
    given = rounding(quantized)
    result = copy.deepcopy(given)
    QdqNetwork(given, source, reduce_range=False).write_to(result)
    before, after = arrays_of(given), arrays_of(result)
    for name, array in before.items():
        assert after[name].dtype == array.dtype
        if np.issubdtype(array.dtype, np.integer):
            np.testing.assert_array_equal(after[name], array)
        else:
            np.testing.assert_allclose(after[name], array, rtol=1e-6)


@pytest.mark.parametrize("weight_type", ["QInt8", "QUInt8"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_weights_of_7_bits_are_written_back_as_they_are(weight_type, per_channel, files, dataset,
                                                        tmp_path):
    source, path, _, params = files
    quantize_statically(path, tmp_path / "int8.onnx", recipe(
        weight_type=weight_type, reduce_range=True, per_channel=per_channel), params,
        dataset.view("calibration")[:])
    given = onnx.load(tmp_path / "int8.onnx")
    result = copy.deepcopy(given)
    QdqNetwork(given, source, reduce_range=True).write_to(result)
    for before, after in zip(stored_weights(given).values(), stored_weights(result).values(),
                             strict=True):
        np.testing.assert_array_equal(after.integers, before.integers)


def test_tuning_brings_the_graph_nearer_to_the_float_model(lite0_files, dataset):
    params = model_params(LITE0, 32)
    source, before = (onnx.load(lite0_files[key]) for key in ("fp32", "static"))
    after, teacher = onnx.load(lite0_files["static"]), load_onnx(lite0_files["fp32"])
    losses = fine_tune(after, source, teacher,
                       random_batches(dataset.images, dataset.splits["train"], RECIPE), RECIPE,
                       params, reduce_range=False)
    assert len(losses) == RECIPE.steps
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    batch = model_input(dataset.view("validation")[:], params)
    error = [np.square(run(model, {INPUT: batch}, fused=False)[0] - teacher(batch)).mean()
             for model in (before, after)]
    assert error[1] < 0.8 * error[0]


def test_only_weights_and_biases_change(files, dataset):
    _, _, quantized, _ = files
    result, _ = tuned(files, dataset)
    assert [node.SerializeToString() for node in result.graph.node] == \
        [node.SerializeToString() for node in quantized.graph.node]
    before, after = arrays_of(quantized), arrays_of(result)
    changed = {name for name, array in before.items() if not np.array_equal(after[name], array)}
    assert changed
    assert all("scale" not in name and "zero_point" not in name for name in changed)
    onnx.checker.check_model(result)


def test_a_constant_that_is_no_weight_of_a_layer_stays(files, dataset, tmp_path):
    """A product with a constant before the head, which the quantizer stores in INT8 as well."""
    plain, _, _, params = files
    source, path, target = copy.deepcopy(plain), tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    place, head = next((place, node) for place, node in enumerate(source.graph.node)
                       if node.op_type == "Gemm")
    source.graph.initializer.append(numpy_helper.from_array(np.float32([0.5]), "factor"))
    source.graph.node.insert(place, onnx.helper.make_node(
        "Mul", [head.input[0], "factor"], ["product"], name="product"))
    source.graph.node[place + 1].input[0] = "product"
    onnx.save(source, path)
    quantize_statically(path, target, recipe(per_channel=False), params,
                        dataset.view("calibration")[:])
    quantized = onnx.load(target)
    assert "factor_quantized" in arrays_of(quantized)
    before = arrays_of(quantized)["factor_quantized"].copy()
    losses = fine_tune(quantized, source, load_onnx(path),
                       random_batches(dataset.images, dataset.splits["train"], RECIPE), RECIPE,
                       params, reduce_range=False)
    assert np.isfinite(losses).all()
    np.testing.assert_array_equal(arrays_of(quantized)["factor_quantized"], before)


@pytest.mark.parametrize("weight_type", ["QInt8", "QUInt8"])
def test_weights_of_7_bits_stay_within_them(weight_type, files, dataset, tmp_path):
    """Steps so long that some weights would go beyond; 8 bits are cut off on a CPU without VNNI."""
    source, path, _, params = files
    target = tmp_path / "int8.onnx"
    quantize_statically(path, target, recipe(weight_type=weight_type, reduce_range=True), params,
                        dataset.view("calibration")[:])
    lowest, highest = {"QInt8": (-64, 64), "QUInt8": (0, 128)}[weight_type]
    qat, reached = QatRecipe(steps=4, batch_size=8, lr=3.0, seed=0), {}
    for reduce_range in (True, False):
        graph = onnx.load(target)
        fine_tune(graph, source, load_onnx(path),
                  random_batches(dataset.images, dataset.splits["train"], qat), qat, params,
                  reduce_range=reduce_range)
        arrays = [weight.integers for weight in stored_weights(graph).values()
                  if weight.integers.dtype != np.int32]
        reached[reduce_range] = (min(each.min() for each in arrays),
                                 max(each.max() for each in arrays))
    assert reached[True] == (lowest, highest)
    assert reached[False][1] > highest


def test_same_seed_same_graph(files, dataset):
    first, second = (tuned(files, dataset)[0].SerializeToString() for _ in range(2))
    assert first == second
    other = tuned(files, dataset, QatRecipe(steps=12, batch_size=16, lr=1e-3, seed=1))[0]
    assert other.SerializeToString() != first


def test_batches_come_from_the_split_alone(dataset):
    qat = QatRecipe(steps=5, batch_size=8, lr=1.0, seed=3)
    positions = dataset.splits["train"]
    allowed = {dataset.images[position].tobytes() for position in positions}
    batches = list(random_batches(dataset.images, positions, qat))
    assert [len(batch) for batch in batches] == [8] * 5
    assert {picture.tobytes() for batch in batches for picture in batch} <= allowed
    assert not np.array_equal(batches[0], batches[1])
    few = list(random_batches(dataset.images, positions[:3], qat))
    assert [len(batch) for batch in few] == [3] * 5


def test_loss_that_is_not_finite(files, dataset):
    def nan(batch):
        return np.full((len(batch), 3), np.nan, np.float32)

    assert "qat: loss is nan at step 1; lower qat.lr" in refusal(tuned, files, dataset,
                                                                 teacher=nan)
