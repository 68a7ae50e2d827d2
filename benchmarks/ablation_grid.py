"""What the autopsy measures: every cell of the ablation, and the tensors to look at by layer."""

import onnx

from stages.analysis.ablation import Cell
from stages.analysis.layer_error import layer_outputs
from stages.onnx_graph.readers import gate_and_product, readers_of

ACTIVATIONS = ("Relu", "Clip", "HardSwish", "Sigmoid", "HardSigmoid", "Gelu")


def grid() -> dict[str, Cell]:
    """Every cell by its name, the float model first."""
    cells = [Cell("float", "float"), Cell("float", "dynamic"), Cell("float", "static"),
             Cell("float", "static", activation_type="QInt8")]
    cells += [Cell(weights, activations, weight_type, reduced=reduced)
              for weights in ("per tensor", "per channel")
              for weight_type, reduced in (("QInt8", False), ("QUInt8", False), ("QInt8", True))
              for activations in ("float", "dynamic", "static")]
    cells += [Cell("per channel", "static", activation_type="QInt8"),
              Cell("per tensor", "dynamic", "QInt8", shipped=True),
              Cell("per tensor", "dynamic", "QUInt8", shipped=True)]
    return {name_of(cell): cell for cell in cells}


def name_of(cell: Cell) -> str:
    """What the page and its raw data call `cell`."""
    weights = "" if cell.weights == "float" else \
        f" {cell.weight_type}{' of 7 bits' if cell.reduced else ''}"
    activations = " QInt8" if cell.activation_type == "QInt8" else ""
    return (f"weights {cell.weights}{weights}, activations {cell.activations}{activations}"
            f"{' (quantize_dynamic)' if cell.shipped else ''}")


def activated_outputs(model: onnx.ModelProto) -> list[str]:
    """What each weighted layer hands on: its output behind the activation, where it has one.

    Quantization leaves nothing to look at between a layer and its activation.
    """
    readers = readers_of(model.graph)

    def behind(name: str) -> str:
        nodes = readers.get(name, [])
        if len(nodes) == 1 and nodes[0].op_type in ACTIVATIONS:
            return nodes[0].output[0]
        gated = gate_and_product(nodes)
        return gated[1].output[0] if gated else name

    return [behind(name) for name in layer_outputs(model)]
