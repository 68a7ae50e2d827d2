"""The ablation: models that differ in one factor of quantization, all made from one float model.

What is rounded is always rounded by ONNX Runtime's quantizer. Where it can't combine two factors,
what it rounds is computed in float: rounded weights are put into the float model, and dynamic
ranges are a DynamicQuantizeLinear and a DequantizeLinear before each layer.
"""

import copy
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import helper

from stages.analysis.rounding import with_float_weights
from stages.config.schema import Recipe
from stages.onnx_graph.layers import weighted_layers, with_weights
from stages.quantization.dynamic import quantize_dynamically
from stages.quantization.float_island import with_float_islands
from stages.quantization.source import load_float_model
from stages.quantization.static import Calibrated, write_qdq
from stages.quantization.stored_weights import dequantized_weights


@dataclass(frozen=True)
class Cell:
    """One combination of factors.

    weights: float, per tensor or per channel; activations: float, dynamic or static.
    reduced: weights of 7 bits.
    shipped: as quantize_dynamic writes it, integer convolutions included.
    """

    weights: str
    activations: str
    weight_type: str = "QInt8"
    activation_type: str = "QUInt8"
    reduced: bool = False
    shipped: bool = False

    @property
    def recipe(self) -> Recipe:
        """Of its weights and, where they are static, its activations."""
        return Recipe(method="static", weight_type=self.weight_type,
                      activation_type=self.activation_type,
                      per_channel=self.weights == "per channel", calibration="minmax",
                      bias_correction=False, reduce_range=self.reduced)


# What a model is prepared by before cells are made from it: calibration by minmax, and no recovery.
BASE_RECIPE = Cell("per channel", "static").recipe


def write_cell(cell: Cell, base: Calibrated, target: Path) -> None:
    """Write `base`, quantized as `cell` says, to `target`."""
    if cell.shipped:
        quantize_dynamically(base.source, target, Recipe(
            method="dynamic", weight_type=cell.weight_type, activation_type="QUInt8",
            per_channel=False, calibration="none", bias_correction=False))
    elif cell.activations == "static":
        write_qdq(base.model, base.ranges, target, cell.recipe)
        if cell.weights == "float":
            model = with_float_islands(with_float_weights(onnx.load(target), base.model),
                                       [node.name for node, _ in weighted_layers(base.model)])
            onnx.save(model, target)
    else:
        model = load_float_model(base.source)
        if cell.weights != "float":
            write_qdq(base.model, base.ranges, target, cell.recipe)
            model = with_weights(model, dequantized_weights(onnx.load(target)))
        if cell.activations == "dynamic":
            model = with_dynamic_activations(model)
        onnx.save(model, target)


def with_dynamic_activations(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` whose layers get inputs rounded to 8 bits by the range of each batch."""
    result = copy.deepcopy(model)
    layers = {node.output[0] for node, _ in weighted_layers(model)}
    rounded: dict[str, str] = {}
    nodes = []
    for node in result.graph.node:
        if node.output[0] in layers:
            name = node.input[0]
            if name not in rounded:
                parts = [f"{name}_dynamic_{part}" for part in ("integers", "scale", "zero")]
                rounded[name] = f"{name}_dynamic"
                nodes += [helper.make_node("DynamicQuantizeLinear", [name], parts),
                          helper.make_node("DequantizeLinear", parts, [rounded[name]])]
            node.input[0] = rounded[name]
        nodes.append(node)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result
