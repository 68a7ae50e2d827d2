"""The cells of the autopsy, and the tensors that it looks at."""

from inverted_residual import network

from benchmarks.ablation_grid import activated_outputs, grid, name_of
from stages.analysis.ablation import Cell


def test_names_tell_cells_apart_and_the_float_model_is_first():
    cells = grid()
    assert next(iter(cells.values())) == Cell("float", "float")
    assert len(cells) == len(set(cells.values())) == 25
    assert all(name == name_of(cell) for name, cell in cells.items())
    assert {(cell.weights, cell.activations) for cell in cells.values()} == {
        (weights, activations) for weights in ("float", "per tensor", "per channel")
        for activations in ("float", "dynamic", "static")}


def test_layers_of_a_quantized_model_are_looked_at_behind_their_activation():
    model = network("SiLU")
    names = activated_outputs(model)
    assert names == ["stem_a", "one_expand_a", "one_depthwise_a", "one_project", "two_expand_a",
                     "two_depthwise_a", "two_project", "head_a"]
    assert activated_outputs(network("Clip")) == names
