import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from refusals import refusal
from synthetic import LITE0, TINY

from stages.config.schema import QatRecipe, QuantizedVariant
from stages.measurement.predictor import load_predictor, model_input
from stages.onnx_graph.export import INPUT
from stages.quantization.qat import QdqNetwork, fine_tune, random_batches
from stages.quantization.static import quantize_statically

RECIPE = QatRecipe(steps=12, batch_size=16, lr=1e-3, seed=0)


def arrays_of(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def as_written(model, batch):
    """Logits of the graph run node by node, nothing fused."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                           providers=["CPUExecutionProvider"])
    return session.run(None, {model.graph.input[0].name: batch})[0]


@pytest.fixture(scope="module")
def files(exported, dataset, tmp_path_factory):
    """(float graph, its path, quantized graph, model parameters) of the tiny model."""
    folder = tmp_path_factory.mktemp("qat")
    source, target = folder / "fp32.onnx", folder / "int8.onnx"
    _, params, proto = exported(TINY, 32, 18)
    onnx.save(proto, source)
    quantize_statically(source, target,
                        QuantizedVariant("static", "QInt8", "QUInt8", False, "minmax", False),
                        params, dataset.pictures("calibration"), INPUT)
    return proto, source, onnx.load(target), params


def tuned(files, dataset, recipe=RECIPE, teacher=None):
    source, path, quantized, params = files
    result = onnx.ModelProto()
    result.CopyFrom(quantized)
    losses = fine_tune(result, source, teacher or load_predictor(path, params),
                       random_batches(dataset.images, dataset.splits["train"], recipe), recipe,
                       params)
    return result, losses


def test_network_gives_the_logits_of_the_graph(files, dataset):
    source, _, quantized, params = files
    batch = model_input(dataset.pictures("validation"), params)
    with torch.no_grad():
        logits = QdqNetwork(quantized, source)(torch.from_numpy(batch)).numpy()
    expected = as_written(quantized, batch)
    step = arrays_of(quantized)["logits_scale"]
    assert np.abs(logits - expected).max() <= 2 * step
    assert np.abs(logits - expected).mean() < 0.2 * step


def test_writing_back_what_was_read_changes_nothing(files):
    source, _, quantized, _ = files
    result = onnx.ModelProto()
    result.CopyFrom(quantized)
    QdqNetwork(quantized, source).write_to(result)
    before, after = arrays_of(quantized), arrays_of(result)
    for name, array in before.items():
        assert after[name].dtype == array.dtype
        if np.issubdtype(array.dtype, np.integer):
            assert np.abs(after[name].astype(np.int64) - array).max(initial=0) <= 1, "ties"
        np.testing.assert_allclose(after[name], array, rtol=1e-3, atol=1)


def test_tuning_brings_the_graph_nearer_to_the_float_model(files, dataset):
    _, path, quantized, params = files
    batch = model_input(dataset.pictures("validation"), params)
    expected = load_predictor(path, params)(batch)
    result, losses = tuned(files, dataset)
    assert len(losses) == RECIPE.steps
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
    before, after = (np.square(as_written(model, batch) - expected).mean()
                     for model in (quantized, result))
    assert after < 0.8 * before


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


def test_same_seed_same_graph(files, dataset):
    first, second = (tuned(files, dataset)[0].SerializeToString() for _ in range(2))
    assert first == second
    other = tuned(files, dataset, QatRecipe(steps=12, batch_size=16, lr=1e-3, seed=1))[0]
    assert other.SerializeToString() != first


def test_batches_come_from_the_split_alone(dataset):
    recipe = QatRecipe(steps=5, batch_size=8, lr=1.0, seed=3)
    positions = dataset.splits["train"]
    allowed = {dataset.images[position].tobytes() for position in positions}
    batches = list(random_batches(dataset.images, positions, recipe))
    assert [len(batch) for batch in batches] == [8] * 5
    assert {picture.tobytes() for batch in batches for picture in batch} <= allowed
    assert not np.array_equal(batches[0], batches[1])
    few = list(random_batches(dataset.images, positions[:3], recipe))
    assert [len(batch) for batch in few] == [3] * 5


def test_operator_that_is_not_known(files, dataset):
    source, _, quantized, _ = files
    strange = onnx.ModelProto()
    strange.CopyFrom(quantized)
    strange.graph.node[-1].op_type = "Softsign"
    assert "qat: operator Softsign can't be fine-tuned" in refusal(QdqNetwork, strange, source)


def test_loss_that_is_not_finite(files, dataset):
    def nan(batch):
        return np.full((len(batch), 3), np.nan, np.float32)

    assert "qat: loss is nan at step 1; lower qat.lr" in refusal(tuned, files, dataset,
                                                                 teacher=nan)


def test_lite0_is_known_whole(lite0_files):
    """Every operator of the model that is shipped, and its asymmetric padding."""
    source, quantized = (onnx.load(lite0_files[name]) for name in ("fp32", "static"))
    batch = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    with torch.no_grad():
        logits = QdqNetwork(quantized, source)(torch.from_numpy(batch)).numpy()
    expected = as_written(quantized, batch)
    assert np.abs(logits - expected).max() < 0.1 * np.abs(expected).max(), LITE0
