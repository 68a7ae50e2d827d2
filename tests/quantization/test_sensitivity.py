"""Layers of a graph, and the noise that each of them makes alone."""

import numpy as np
import pytest
from onnx import helper
from run_onnx import model_of

from stages.quantization.sensitivity import (
    in_groups,
    layers_of,
    nodes_of,
    noise_by_layer,
    weight_names,
)


@pytest.fixture(scope="module")
def model():
    """Clip, convolution, depthwise convolution, pool, and a fully connected layer."""
    shapes = {"stem": (8, 3, 3, 3), "depthwise": (8, 1, 3, 3), "head": (5, 8)}
    return model_of(
        [helper.make_node("Relu", ["x"], ["r"], name="first"),
         helper.make_node("Conv", ["r", "stem"], ["a"], name="conv", pads=[1] * 4,
                          strides=[2, 2]),
         helper.make_node("Relu", ["a"], ["b"], name="relu"),
         helper.make_node("Conv", ["b", "depthwise"], ["c"], name="dw", group=8, pads=[1] * 4),
         helper.make_node("Add", ["b", "c"], ["d"], name="add"),
         helper.make_node("GlobalAveragePool", ["d"], ["e"], name="pool"),
         helper.make_node("Flatten", ["e"], ["f"], name="flatten"),
         helper.make_node("Gemm", ["f", "head"], ["y"], name="gemm", transB=1)],
        {"x": ["batch", 3, 8, 8]}, {"y": ["batch", 5]},
        {name: np.ones(shape, np.float32) for name, shape in shapes.items()}, opset=13)


def test_layers_hold_every_node_once(model):
    layers = layers_of(model)
    assert [layer.weights[0] for layer in layers] == ["stem", "depthwise", "head"]
    assert [layer.nodes for layer in layers] == [
        ("first", "conv", "relu"), ("dw", "add", "pool", "flatten"), ("gemm",)]
    assert nodes_of(layers) == [node.name for node in model.graph.node]


def test_nodes_that_share_a_weight_are_one_layer():
    shared = model_of(
        [helper.make_node("Conv", ["x", "w"], ["a"], name="one"),
         helper.make_node("Conv", ["a", "v"], ["b"], name="other"),
         helper.make_node("Conv", ["b", "w"], ["c"], name="again"),
         helper.make_node("Relu", ["c"], ["y"], name="relu")],
        {"x": ["batch", 3, 4, 4]}, {"y": None},
        {name: np.ones((3, 3, 1, 1), np.float32) for name in ("w", "v")}, opset=13)
    assert [(layer.weights, layer.nodes, layer.macs) for layer in layers_of(shared)] == [
        (("w",), ("one", "again", "relu"), 2 * 16 * 9), (("v",), ("other",), 16 * 9)]


def test_macs_by_hand(model):
    """Output elements times weights a channel: 8 by 4 by 4, from 3 or from 1 channel; 8 to 5."""
    assert [layer.macs for layer in layers_of(model)] == [128 * 27, 128 * 9, 40]


def test_groups_hold_every_node_once_and_all_macs(model):
    layers = layers_of(model)
    groups = in_groups(layers, 2)
    assert [len(group.weights) for group in groups] == [2, 1]
    assert weight_names(groups) == weight_names(layers)
    assert nodes_of(groups) == nodes_of(layers)
    assert [group.macs for group in groups] == [128 * 36, 40]
    assert in_groups(layers, 1) == layers


def test_macs_of_a_matrix_product():
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
                     {"x": ["batch", 7, 4]}, {"y": ["batch", 7, 6]},
                     {"w": np.ones((4, 6), np.float32)}, opset=13)
    assert [layer.macs for layer in layers_of(model)] == [7 * 4 * 6]


def test_each_layer_is_quantized_alone(model, tmp_path):
    layers, calls = layers_of(model), []
    noise = noise_by_layer(layers, lambda path, exclude: calls.append(list(exclude)),
                           lambda path: np.full((2, 5), float(len(calls))), np.ones((2, 5)),
                           tmp_path / "model.onnx")
    assert calls == [nodes_of([other for other in layers if other != layer]) for layer in layers]
    assert noise == [0, 1, 4]
