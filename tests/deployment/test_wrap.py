"""The wrapped graph says what the body says behind stages.model.preprocess."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from run_onnx import model_of
from synthetic import random_pictures
from tiny_model import BODIES, PARAMS, SIDE, tiny_body, write_body

from stages.deployment.runtime import OUTPUTS, PICTURES
from stages.deployment.wrap import ADDED_FLOAT_NODES, preprocessing_model, wrap
from stages.inference.session import open_session
from stages.model.preprocess import preprocess
from stages.onnx_graph.census import executed_graph, operator_counts, quantized_and_float
from stages.onnx_graph.opset import standard_opset

# As large as the model's input, enlarged, shrunk, and both at once.
SIZES = [(SIDE, SIDE), (12, 12), (1, 1), (50, 41), (9, 77), (17, 16)]


def run(model, pictures):
    return open_session(model.SerializeToString()).run(list(OUTPUTS), {PICTURES: pictures})


def as_the_pipeline_does(path, pictures):
    batch = preprocess(torch.from_numpy(pictures), SIDE, PARAMS.mean, PARAMS.std)
    return open_session(path).run(None, {"input": batch.contiguous().numpy()})[0]


@pytest.mark.parametrize("size", SIZES)
def test_preprocessing_is_that_of_the_pipeline(size):
    pictures = random_pictures(3, *size)
    session = open_session(preprocessing_model(PARAMS).SerializeToString())
    actual = session.run(None, {PICTURES: pictures})[0]
    expected = preprocess(torch.from_numpy(pictures), SIDE, PARAMS.mean, PARAMS.std).numpy()
    np.testing.assert_allclose(actual, expected, atol=2e-5, rtol=0)
    if max(size) <= SIDE:
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("kind", BODIES)
def test_answers_are_those_of_the_body(tmp_path, kind, opset):
    body = write_body(tmp_path, kind, opset)
    model = wrap(onnx.load(body), PARAMS)
    assert standard_opset(model) == 18
    for size in SIZES[:4]:
        pictures = random_pictures(4, *size)
        logits, probabilities, index = run(model, pictures)
        # Noise that is shrunk may tip a rounding of an INT8 model: a step or two of its scale.
        atol = 1e-5 if kind == "float" or max(size) <= SIDE else 0.1
        np.testing.assert_allclose(logits, as_the_pipeline_does(body, pictures), atol=atol)
        np.testing.assert_allclose(probabilities, torch.from_numpy(logits).softmax(1), atol=1e-6)
        np.testing.assert_array_equal(index, logits.argmax(axis=1))
        assert index.dtype == np.int64


@pytest.mark.parametrize("opset", [13, 18])
def test_int8_body_stays_int8(tmp_path, opset):
    body, wrapped = write_body(tmp_path, "static", opset), tmp_path / "wrapped.onnx"
    onnx.save(wrap(onnx.load(body), PARAMS), wrapped)
    before, after = (quantized_and_float(operator_counts(executed_graph(path)))
                     for path in (body, wrapped))
    assert before == (3, 0)
    assert after == (3, ADDED_FLOAT_NODES)


def test_batch_and_size_are_free_and_the_body_is_left_alone():
    body = tiny_body()
    before = body.SerializeToString()
    model = wrap(body, PARAMS)
    assert body.SerializeToString() == before
    for count in (1, 7):
        assert run(model, random_pictures(count, 5, 6))[2].shape == (count,)
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in shape] == ["batch", "height", "width", 3]


def rename(graph, old, new):
    for value in (*graph.input, *graph.output):
        value.name = new if value.name == old else value.name
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]


def test_output_of_another_name_becomes_logits():
    body = tiny_body()
    rename(body.graph, "logits", "scores")
    pictures = random_pictures(2, SIDE, SIDE)
    for ours, theirs in zip(run(wrap(body, PARAMS), pictures),
                            run(wrap(tiny_body(), PARAMS), pictures), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("old", "new"), [
    ("c", "logits"), ("c", "probabilities"), ("c", "class_index"), ("c", "pictures"),
    ("c", "deploy/float"), ("input", "pictures")])
def test_names_of_the_body_may_be_those_of_what_is_added(old, new):
    body = tiny_body()
    rename(body.graph, "logits", "scores")
    rename(body.graph, old, new)
    pictures = random_pictures(2, SIDE, SIDE)
    for ours, theirs in zip(run(wrap(body, PARAMS), pictures),
                            run(wrap(tiny_body(), PARAMS), pictures), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def residual_body(channels=8):
    """Two sums, which ONNX Runtime makes part of the convolutions before them."""
    rng = np.random.default_rng(0)
    kernels = {f"w{number}": rng.standard_normal((channels, 3 if number == 0 else channels, 3, 3)
                                                 ).astype(np.float32) for number in range(3)}
    nodes = [helper.make_node("Conv", ["input", "w0"], ["s0"], pads=[1, 1, 1, 1])]
    for number in (1, 2):
        nodes += [helper.make_node("Conv", [f"s{number - 1}", f"w{number}"], [f"c{number}"],
                                   pads=[1, 1, 1, 1]),
                  helper.make_node("Add", [f"c{number}", f"s{number - 1}"], [f"s{number}"])]
    nodes += [helper.make_node("GlobalAveragePool", ["s2"], ["p"]),
              helper.make_node("Flatten", ["p"], ["scores"])]
    return model_of(nodes, {"input": ["batch", 3, SIDE, SIDE]}, {"scores": ["batch", channels]},
                    kernels)


def test_wrapping_leaves_no_sum_apart(tmp_path):
    paths = tmp_path / "body.onnx", tmp_path / "wrapped.onnx"
    for path, model in zip(paths, (residual_body(), wrap(residual_body(), PARAMS)), strict=True):
        onnx.save(model, path)
    (_, before), (_, after) = (quantized_and_float(operator_counts(executed_graph(path)))
                               for path in paths)
    assert after <= before + ADDED_FLOAT_NODES


def test_nothing_but_the_model_is_in_it(tmp_path):
    body = tiny_body()
    body.producer_version = "2.0+cpu"
    onnx.helper.set_model_props(body, {"made": "yesterday"})
    model = wrap(body, PARAMS)
    assert not model.metadata_props
    assert model.SerializeToString() == wrap(tiny_body(), PARAMS).SerializeToString()
