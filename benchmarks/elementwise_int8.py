"""SiLU and the product of squeeze-excitation in INT8: their cost, as they are and otherwise.

    python -m benchmarks.elementwise_int8 [--rounds 40]

Each way is a graph of its own on random uint8 tensors (batch, height, width, channels), the layout
in which ONNX Runtime runs QLinearConv, on one thread. Rounds run all ways of a shape in random
order, each once before it is timed. Raw data goes to docs/elementwise_int8.json, the table to
docs/precision.md.
"""

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from benchmarks.arguments import only_count
from benchmarks.markdown import markdown_table
from benchmarks.raw_data import publish
from benchmarks.rounds import milliseconds, ratio_cell
from stages.config.stage import run_stage
from stages.inference.session import CPU
from stages.measurement.system import describe_system
from stages.reporting.tables import cpu_label

RAW, PAGE = Path("docs/elementwise_int8.json"), Path("docs/precision.md")
OPSET, CONTRIB = 18, "com.microsoft"
# Shapes of EfficientNet-B3 at 224 px, with one picture and with a batch.
SHAPES = ((1, 112, 112, 24), (16, 112, 112, 24), (1, 56, 56, 144), (16, 56, 56, 144),
          (16, 14, 14, 816))
# Scale and zero point of x, of a gate or sigmoid, and of the result.
SCALES = {"sx": 0.06, "sg": 1 / 255, "sy": 0.04}
ZEROS = {"zx": 100, "zg": 0, "zy": 7}
X, GATE, Y = ["sx", "zx"], ["sg", "zg"], ["sy", "zy"]


def contrib(op_type: str, inputs: list[str], output: str, **attributes: float) -> NodeProto:
    return helper.make_node(op_type, inputs, [output], domain=CONTRIB, **attributes)


def in_float(inputs: dict[str, list[str]], node: NodeProto) -> list[NodeProto]:
    """`node`, whose output is called real, between DequantizeLinear and QuantizeLinear."""
    return [*(helper.make_node("DequantizeLinear", [name, *types], [f"{name}_real"])
              for name, types in inputs.items()), node,
            helper.make_node("QuantizeLinear", ["real", *Y], ["y"])]


# The first way of an operation is ONNX Runtime's own, with which the others are compared.
WAYS: dict[str, dict[str, list[NodeProto]]] = {
    "SiLU": {
        "QLinearSigmoid, QLinearMul": [
            contrib("QLinearSigmoid", ["x", *X, *GATE], "sigmoid"),
            contrib("QLinearMul", ["x", *X, "sigmoid", *GATE, *Y], "y")],
        "QuickGelu in float": in_float({"x": X}, contrib("QuickGelu", ["x_real"], "real",
                                                         alpha=1.0)),
        "one table (of leaky ReLU)": [contrib("QLinearLeakyRelu", ["x", *X, *Y], "y", alpha=0.1)]},
    "squeeze-excitation": {
        "QLinearMul": [contrib("QLinearMul", ["x", *X, "gate", *GATE, *Y], "y")],
        "QLinearMul, gate repeated along a row": [
            helper.make_node("Tile", ["gate", "along_a_row"], ["row"]),
            contrib("QLinearMul", ["x", *X, "row", *GATE, *Y], "y")],
        "Mul in float": in_float({"x": X, "gate": GATE},
                                 helper.make_node("Mul", ["x_real", "gate_real"], ["real"]))}}


def model_of(nodes: list[NodeProto], shapes: dict[str, tuple[int, ...]]) -> ModelProto:
    """A graph of `nodes` from uint8 inputs of `shapes`, by name, to uint8 `y`."""
    used = {name for node in nodes for name in node.input}
    constants = [numpy_helper.from_array(np.array(value, kind), name)
                 for values, kind in ((SCALES, np.float32), (ZEROS, np.uint8))
                 for name, value in values.items() if name in used]
    if "along_a_row" in used:
        constants.append(numpy_helper.from_array(np.array([1, 1, shapes["x"][2], 1]),
                                                 "along_a_row"))
    graph = helper.make_graph(
        nodes, "elementwise",
        [helper.make_tensor_value_info(name, TensorProto.UINT8, shape)
         for name, shape in shapes.items()],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, shapes["x"])], constants)
    return helper.make_model(graph, ir_version=9, opset_imports=[
        helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)])


def runs_of(operation: str, shape: tuple[int, ...]) -> dict[str, Callable[[int], np.ndarray]]:
    """Every way of `operation` on the same random input, in any round, by name."""
    rng, batch, channels = np.random.default_rng(0), shape[0], shape[-1]
    feed = {"x": rng.integers(0, 256, shape, np.uint8)}
    if operation != "SiLU":
        feed["gate"] = rng.integers(0, 256, (batch, 1, 1, channels), np.uint8)
    shapes = {name: values.shape for name, values in feed.items()}

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # As written: ONNX Runtime would make an integer product of the one in float.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL

    def run(nodes: list[NodeProto]) -> Callable[[int], np.ndarray]:
        session = onnxruntime.InferenceSession(model_of(nodes, shapes).SerializeToString(),
                                               options, providers=[CPU])
        return lambda _: session.run(None, feed)[0]
    return {way: run(nodes) for way, nodes in WAYS[operation].items()}


def measure(operation: str, shape: tuple[int, ...], rounds: int) -> dict[str, list[float]]:
    """Nanoseconds an element of each round, by way."""
    times = milliseconds(runs_of(operation, shape), rounds)
    return {way: [1e6 * each / prod(shape) for each in series] for way, series in times.items()}


def table(results: list[dict[str, Any]]) -> str:
    """A row for each way and shape: its median time, and how that stands to the first way's."""
    rows = []
    for result in results:
        first = next(iter(result["ns"].values()))
        for way, times in result["ns"].items():
            shape = " × ".join(map(str, result["shape"]))
            rows.append((result["operation"], way, shape, f"{np.median(times):.2f}",
                         ratio_cell(first, times)))
    return markdown_table(("", "written as", "shape", "ns an element, median", "times as fast"),
                          rows)


def told(raw: dict[str, Any]) -> str:
    """The page's block: what was measured on what, and the table."""
    system = raw["system"]
    return (f"{cpu_label(system['cpu'])}, 1 thread, {raw['rounds']} rounds; onnxruntime "
            f"{system['packages']['onnxruntime']}.\n\n{table(raw['results'])}")


def main() -> None:
    rounds = only_count(__doc__, "--rounds", 40)
    results = [{"operation": operation, "shape": shape, "ns": measure(operation, shape, rounds)}
               for operation in WAYS for shape in SHAPES]
    raw = {"rounds": rounds, "system": describe_system(), "results": results}
    print(publish(RAW, PAGE, "elementwise", raw, told))


if __name__ == "__main__":
    run_stage(main)
