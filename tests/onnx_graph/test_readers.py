"""Readers of a tensor, and those that are a SiLU."""

import pytest
from inverted_residual import network
from onnx import helper

from stages.onnx_graph.readers import readers_of, silu_output


def test_readers_are_all_nodes_that_read_a_tensor_each_once():
    graph = network("SiLU").graph
    graph.node.append(helper.make_node("Mul", ["sum", "sum"], ["square"]))
    assert [node.output[0] for node in readers_of(graph)["sum"]] == ["head", "square"]
    assert "logits" not in readers_of(graph)


def test_silu_is_found_in_whichever_order_it_stands_and_multiplies():
    readers = readers_of(network("SiLU").graph)["stem"]
    assert silu_output(readers) == silu_output(readers[::-1]) == "stem_a"
    product = next(node for node in readers if node.op_type == "Mul")
    product.input[:] = [product.input[1], product.input[0]]
    assert silu_output(readers) == "stem_a"


@pytest.mark.parametrize("nodes", [
    [], [("Sigmoid", ["x"], "s")], [("Mul", ["x", "s"], "y")],
    [("Sigmoid", ["x"], "s"), ("Mul", ["x", "other"], "y")],
    [("Sigmoid", ["x"], "s"), ("Mul", ["x", "s"], "y"), ("Relu", ["x"], "r")]])
def test_what_is_no_silu(nodes):
    made = [helper.make_node(operator, inputs, [output]) for operator, inputs, output in nodes]
    assert silu_output(made) is None
