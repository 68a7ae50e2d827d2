import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from run_onnx import constants_as_nodes, model_of, run
from synthetic import LITE0, TINY

from stages.onnx_graph.attributes import attributes
from stages.onnx_graph.census import operator_counts
from stages.onnx_graph.clean import clean, name_nodes
from stages.onnx_graph.layers import arrays_of


def graph_of(nodes, shape, constants=(), opset=18, rank=4):
    """A model from float32 `x` of `shape` to float32 `y` of `rank`."""
    return model_of(nodes, {"x": shape}, {"y": [None] * rank}, constants, opset)


def reduce_mean(axes, keepdims, shape, opset):
    """A Relu and a mean; opset 18 made the axes an input."""
    rank = len(shape) - (0 if keepdims else len(axes))
    relu = helper.make_node("Relu", ["x"], ["r"])
    if opset < 18:
        mean = helper.make_node("ReduceMean", ["r"], ["y"], axes=axes, keepdims=keepdims)
        return graph_of([relu, mean], shape, opset=opset, rank=rank)
    mean = helper.make_node("ReduceMean", ["r", "axes"], ["y"], keepdims=keepdims)
    return graph_of([relu, mean], shape, {"axes": np.array(axes, dtype=np.int64)}, opset, rank)


def batch_of(shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("axes", [[2, 3], [3, 2], [-2, -1], [-1, -2]])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_mean_over_height_and_width_becomes_a_pool(axes, opset, keepdims):
    model = reduce_mean(axes, keepdims, (2, 3, 5, 4), opset)
    cleaned = clean(model)
    assert operator_counts(cleaned) == {"GlobalAveragePool": 1, "Relu": 1,
                                        **({} if keepdims else {"Flatten": 1})}
    batch = batch_of((2, 3, 5, 4))
    expected = np.maximum(batch, 0).mean((2, 3), keepdims=bool(keepdims))
    np.testing.assert_allclose(run(cleaned, {"x": batch})[0], expected, atol=1e-6)
    assert clean(cleaned).SerializeToString() == cleaned.SerializeToString()


def test_mean_over_axes_that_a_node_makes_becomes_a_pool():
    model = reduce_mean([2, 3], 1, (2, 3, 5, 4), 18)
    constants_as_nodes(model)
    cleaned = clean(model)
    assert operator_counts(cleaned) == {"GlobalAveragePool": 1, "Relu": 1}
    assert clean(cleaned).SerializeToString() == cleaned.SerializeToString()


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize(("axes", "keepdims", "shape"), [
    ([1], 1, (2, 3, 5, 4)), ([1, 2], 1, (2, 3, 5, 4)), ([3], 1, (2, 3, 5, 4)),
    ([1, 2, 3], 1, (2, 3, 5, 4)), ([1, 2], 0, (2, 3, 5, 4)),
    ([-2, -1], 1, (3, 5, 4)), ([2, 3], 1, (2, 3, 5, 4, 2)), ([-2, -1], 1, (2, 3, 5, 4, 2))],
    ids=str)
def test_another_mean_is_left_alone(axes, keepdims, shape, opset):
    cleaned = clean(reduce_mean(axes, keepdims, shape, opset))
    assert operator_counts(cleaned) == {"ReduceMean": 1, "Relu": 1}
    batch = batch_of(shape)
    expected = np.maximum(batch, 0).mean(tuple(axes), keepdims=bool(keepdims))
    np.testing.assert_allclose(run(cleaned, {"x": batch})[0], expected, atol=1e-6)


def test_every_node_has_a_name_of_its_own(exported):
    """ONNX Runtime leaves those without one that it makes of hard swish."""
    names = [node.name for node in exported("mobilenet_v3_small", 32, 17, "torchvision")[2]
             .graph.node]
    assert "" not in names
    assert len(set(names)) == len(names)


def test_names_are_given_where_there_are_none_and_nowhere_else():
    nodes = [helper.make_node("Relu", [source], [made], name=name) for source, made, name in (
        ("x", "a", ""), ("a", "b", "same"), ("b", "c", "same"), ("c", "d", "a"), ("d", "y", ""))]
    model = graph_of(nodes, (1, 2, 3, 3))
    name_nodes(model.graph)
    assert [node.name for node in model.graph.node] == ["a_", "same", "c", "a", "y"]


def padded_pool(value, pads=(0, 0, 0, 1, 0, 0, 1, 2), read_twice=False, **options):
    nodes = [helper.make_node("Relu", ["x"], ["r"]),
             helper.make_node("Pad", ["r", "pads", "value"], ["p"]),
             helper.make_node("MaxPool", ["p"], ["m"], kernel_shape=[3, 3], strides=[2, 2],
                              **options),
             helper.make_node("ReduceMax", ["p" if read_twice else "m"], ["z"], keepdims=1),
             helper.make_node("Add", ["m", "z"], ["y"])]
    return graph_of(nodes, (2, 3, 8, 8), {
        "pads": np.array(pads), "value": np.array(value, np.float32)})


@pytest.mark.parametrize(("model", "pads"), [
    (padded_pool(-np.inf), [0, 1, 1, 2]),
    (padded_pool(-np.inf, pads=(0, 1, 0, 1, 0, 0, 1, 2)), None),
    (padded_pool(-np.inf, pads=(0, 0, 0, 1, 0, 0, 0, 0), read_twice=True), None),
    (padded_pool(-np.inf, pads=(0, 0, 0, -1, 0, 0, 1, 1)), None),
    (padded_pool(-np.inf, pads=(0, 0, 0, 3, 0, 0, 1, 1)), None),
    (padded_pool(-np.inf, ceil_mode=1), None),
    (padded_pool(0.0), None)],
    ids=["folded", "of channels", "read twice", "a crop", "more than the kernel", "rounded up",
         "of zeros"])
def test_padding_by_minus_infinity_is_the_pools_own(model, pads):
    feed = {"x": batch_of((2, 3, 8, 8))}
    expected = run(model, feed)[0]
    cleaned = clean(model)
    np.testing.assert_array_equal(run(cleaned, feed)[0], expected)
    [pool] = [node for node in cleaned.graph.node if node.op_type == "MaxPool"]
    assert ("Pad" in operator_counts(cleaned)) is (pads is None)
    if pads:
        assert attributes(pool)["pads"] == pads
        assert not any(np.isinf(array).any() for array in arrays_of(cleaned).values())
    onnx.checker.check_model(cleaned, full_check=True)


def test_a_pad_that_another_pool_still_reads_stays():
    def pool(name, source):
        return helper.make_node("MaxPool", [source], [name], kernel_shape=[3, 3])

    model = graph_of([
        helper.make_node("Pad", ["x", "pads", "value"], ["a"]),
        helper.make_node("Pad", ["a", "pads", "value"], ["b"]),
        pool("of_b", "b"), pool("of_a", "a"),
        helper.make_node("ReduceMax", ["of_a"], ["m"], keepdims=1),
        helper.make_node("Add", ["of_b", "m"], ["y"])], (2, 3, 8, 8), {
            "pads": np.array([0, 0, 0, 1, 0, 0, 1, 0]), "value": np.array(-np.inf, np.float32)})
    feed = {"x": batch_of((2, 3, 8, 8))}
    cleaned = clean(model)
    onnx.checker.check_model(cleaned, full_check=True)
    np.testing.assert_array_equal(run(cleaned, feed)[0], run(model, feed)[0])
    assert operator_counts(cleaned)["Pad"] == 1


def untidy():
    """What exporters leave: padding, batch norm, identity, constants, and debug records."""
    rng = np.random.default_rng(1)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    model = graph_of([
        helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(
            np.array([2.0], dtype=np.float32))),
        helper.make_node("Add", ["two", "one"], ["three"]),
        helper.make_node("Identity", ["x"], ["i"]),
        helper.make_node("Pad", ["i", "pads"], ["p"]),
        helper.make_node("Conv", ["p", "w"], ["c"], name="conv", doc_string="in file model.py"),
        helper.make_node("BatchNormalization", ["c", "scale", "bias", "mean", "var"], ["b"]),
        helper.make_node("Mul", ["b", "three"], ["m"]),
        helper.make_node("ReduceMean", ["m", "axes"], ["y"], keepdims=1)], (2, 3, 6, 6), {
        "one": np.array([1.0], dtype=np.float32), "w": normal(4, 3, 3, 3),
        "pads": np.array([0, 0, 0, 1, 0, 0, 1, 0]), "scale": normal(4), "bias": normal(4),
        "mean": normal(4), "var": np.abs(normal(4)), "axes": np.array([2, 3])})
    for held in (model, model.graph, model.graph.node[4], model.graph.input[0]):
        entry = held.metadata_props.add()
        entry.key, entry.value = "stack_trace", "File model.py, line 1"
    model.opset_import.append(helper.make_opsetid("com.example.unused", 1))
    return model


def test_an_untidy_graph_is_folded_and_says_the_same():
    model = untidy()
    before = model.SerializeToString()
    cleaned = clean(model)
    assert model.SerializeToString() == before, "the argument was changed"
    assert set(operator_counts(cleaned)) <= {"Conv", "Mul", "GlobalAveragePool"}
    assert operator_counts(cleaned)["GlobalAveragePool"] == 1
    feed = {"x": batch_of((2, 3, 6, 6))}
    np.testing.assert_allclose(run(cleaned, feed)[0], run(model, feed)[0], atol=1e-4)
    onnx.checker.check_model(cleaned, full_check=True)


def test_debug_records_and_unused_domains_are_dropped():
    content = clean(untidy()).SerializeToString()
    for trace in (b"stack_trace", b"model.py", b"com.example.unused"):
        assert trace in untidy().SerializeToString()
        assert trace not in content


def test_twice_is_as_once():
    once = clean(untidy())
    assert clean(once).SerializeToString() == once.SerializeToString()


@pytest.mark.parametrize(("name", "opset"), [(TINY, 13), (TINY, 18), (LITE0, 18)])
def test_twice_is_as_once_for_an_exported_model(exported, name, opset):
    once = clean(exported(name, 32, opset)[2])
    assert clean(once).SerializeToString() == once.SerializeToString()
    assert onnx.ModelProto.FromString(once.SerializeToString()) == once
