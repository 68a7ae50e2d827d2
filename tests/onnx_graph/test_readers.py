"""Readers of a tensor, and those that gate it."""

import pytest
from inverted_residual import network
from onnx import helper

from stages.onnx_graph.readers import gate_and_product, readers_of


def test_readers_are_all_nodes_that_read_a_tensor_each_once():
    graph = network("SiLU").graph
    graph.node.append(helper.make_node("Mul", ["sum", "sum"], ["square"]))
    assert [node.output[0] for node in readers_of(graph)["sum"]] == ["head", "square"]
    assert "logits" not in readers_of(graph)


def test_a_node_whose_branch_reads_a_tensor_is_a_reader():
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["r"])], "branch", [],
                               [helper.make_empty_tensor_value_info("r")])
    choice = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    assert readers_of(helper.make_graph([choice], "graph", [], [])) == {
        "c": [choice], "x": [choice]}


def test_silu_is_found_in_whichever_order_it_stands_and_multiplies():
    readers = readers_of(network("SiLU").graph)["stem"]
    product = next(node for node in readers if node.op_type == "Mul")
    for swapped in (False, True):
        if swapped:
            product.input[:] = [product.input[1], product.input[0]]
        for nodes in (readers, readers[::-1]):
            assert [node.op_type for node in gate_and_product(nodes)] == ["Sigmoid", "Mul"]
    assert product.output[0] == "stem_a"


@pytest.mark.parametrize("nodes", [
    [], [("Sigmoid", ["x"], "s")], [("Mul", ["x", "s"], "y")],
    [("Sigmoid", ["x"], "s"), ("Mul", ["x", "other"], "y")],
    [("Tanh", ["x"], "s"), ("Mul", ["x", "s"], "y")],
    [("Sigmoid", ["x"], "s"), ("Mul", ["x", "s"], "y"), ("Relu", ["x"], "r")]])
def test_what_is_no_silu(nodes):
    made = [helper.make_node(operator, inputs, [output]) for operator, inputs, output in nodes]
    assert gate_and_product(made) is None
