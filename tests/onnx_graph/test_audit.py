"""A small graph with a node that stays float for each reason."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import helper
from run_onnx import model_of

from stages.onnx_graph.audit import (
    FLOAT_INPUT,
    FLOAT_OUTPUT,
    GRAPH_OUTPUT,
    KEEPS_FLOAT,
    NO_KERNEL,
    NOTHING_AROUND,
    UNSUPPORTED,
    float_nodes,
)
from stages.onnx_graph.census import executed_graph, operator_counts, quantized_and_float

CHANNELS, SIDE = 8, 4
SHAPE = [1, CHANNELS, SIDE, SIDE]


class Chain:
    """A graph of one path, built node by node; `tensor` is where it has come to."""

    def __init__(self):
        self.nodes, self.tensor = [], "x"
        self.constants = {"scale": np.float32(0.1), "unsigned": np.uint8(0), "signed": np.int8(0),
                          "float_weight": np.ones((CHANNELS, CHANNELS, 1, 1), np.float32),
                          "weight": np.ones((CHANNELS, CHANNELS, 1, 1), np.int8)}

    def node(self, operator, name, *inputs):
        self.nodes.append(helper.make_node(operator, [self.tensor, *inputs], [f"{name}_out"],
                                           name=name))
        self.tensor = f"{name}_out"
        return self

    def pair(self, name):
        self.node("QuantizeLinear", f"{name}_q", "scale", "unsigned")
        return self.node("DequantizeLinear", f"{name}_dq", "scale", "unsigned")

    def conv(self, name, quantized=True, operator="Conv"):
        weight = "float_weight"
        if quantized:
            weight = f"{name}_weight"
            self.nodes.append(helper.make_node("DequantizeLinear", ["weight", "scale", "signed"],
                                               [weight], name=f"{weight}_dq"))
        return self.node(operator, name, weight)

    def audit(self, folder):
        onnx.save(model_of(self.nodes, {"x": SHAPE}, {self.tensor: None}, self.constants, opset=13),
                  folder / "model.onnx")
        executed = executed_graph(folder / "model.onnx")
        nodes = float_nodes(executed)
        assert len(nodes) == quantized_and_float(operator_counts(executed))[1]
        return {node["operator"].removeprefix("Fused"): node["reason"] for node in nodes}


@pytest.mark.parametrize(("build", "expected"), [
    (lambda g: g.pair("a").conv("c").pair("b"), {}),
    (lambda g: g.pair("a").node("Erf", "e").pair("b"), {"Erf": UNSUPPORTED}),
    (lambda g: g.pair("a").node("Max", "m").conv("c", quantized=False).pair("b"),
     {"Max": KEEPS_FLOAT, "Conv": FLOAT_INPUT}),
    (lambda g: g.pair("a").node("Max", "m", "scale").pair("b"), {"Max": UNSUPPORTED}),
    (lambda g: g.conv("c", quantized=False), {"Conv": NOTHING_AROUND}),
    (lambda g: g.pair("a").conv("c", quantized=False), {"Conv": FLOAT_INPUT}),
    (lambda g: g.conv("c", quantized=False).pair("b"), {"Conv": FLOAT_INPUT}),
    (lambda g: g.pair("a").conv("c"), {"Conv": GRAPH_OUTPUT}),
    (lambda g: g.pair("a").conv("c").node("Erf", "e"), {"Conv": FLOAT_OUTPUT, "Erf": UNSUPPORTED}),
    (lambda g: g.pair("a").conv("c", operator="ConvTranspose").pair("b"),
     {"ConvTranspose": NO_KERNEL}),
], ids=["quantized", "unsupported", "float island", "a largest of two", "nothing around",
        "float weight", "float input", "graph output", "float output", "no kernel"])
def test_reason_by_rule(tmp_path, build, expected):
    assert build(Chain()).audit(tmp_path) == expected


def test_static_lite0_keeps_nothing_in_float_but_the_last_dequantization(lite0_files):
    executed = executed_graph(lite0_files["static"])
    assert float_nodes(executed) == []
    conversions = [node for node in executed.graph.node
                   if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert [node.op_type for node in conversions] == ["QuantizeLinear", "DequantizeLinear"]
    assert conversions[0].input[0] == executed.graph.input[0].name
    assert conversions[1].output[0] == executed.graph.output[0].name


def test_dynamic_lite0_computes_in_float_what_dynamic_quantization_leaves_there(lite0_files):
    nodes = float_nodes(executed_graph(lite0_files["dynamic"]))
    assert Counter(node["reason"] for node in nodes) == {NOTHING_AROUND: len(nodes)}
    assert {"Mul", "Add", "Clip"} <= {node["operator"] for node in nodes}


def test_nodes_are_named(lite0_files):
    executed = executed_graph(lite0_files["fp32"])
    names = {node.name for node in executed.graph.node}
    found = float_nodes(executed)
    assert len(found) >= 50
    assert all(node["name"] for node in found)
    assert {node["name"] for node in found} <= names
