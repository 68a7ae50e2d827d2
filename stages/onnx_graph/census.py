"""What is in a graph: as it is written, and as ONNX Runtime really runs it."""

import tempfile
from collections import Counter
from pathlib import Path

import onnx
from onnxruntime import GraphOptimizationLevel

from stages.inference.session import open_session

QUANTIZED_PREFIXES = ("QLinear", "QGemm", "QAttention")
QUANTIZED = {"ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat",
             "NhwcMaxPool"}  # which has no kernel but of integers
NOT_COMPUTE = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "Reshape",
               "Flatten", "Transpose", "ReorderInput", "ReorderOutput", "Squeeze", "Unsqueeze",
               "Identity", "Constant", "Shape", "Gather", "Slice", "Concat",
               "Split", "Expand", "Tile", "Pad"}


def operator_counts(model: onnx.ModelProto) -> dict[str, int]:
    """Number of nodes by operator, most frequent first."""
    counts = Counter(node.op_type for node in model.graph.node)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def executed_graph(model: Path | bytes, level: GraphOptimizationLevel =
                   GraphOptimizationLevel.ORT_ENABLE_ALL) -> onnx.ModelProto:
    """The graph that ONNX Runtime runs on this CPU for the model at a path, or its bytes.

    Args:
        level: of optimization; up to ORT_ENABLE_BASIC the operators are standard ONNX ones.

    Raises:
        UserError: there is no such model, or none that it can run.
    """
    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        open_session(model, optimized_model_filepath=str(optimized),
                     graph_optimization_level=level)
        return onnx.load(optimized)


def runs_quantized(operator: str) -> bool:
    """Whether nodes of `operator` compute on integers."""
    return operator in QUANTIZED or operator.startswith(QUANTIZED_PREFIXES)


def runs_in_float(operator: str) -> bool:
    """Whether nodes of `operator` compute in float; copies and casts do not compute."""
    return operator not in NOT_COMPUTE and not runs_quantized(operator)


def quantized_and_float(counts: dict[str, int]) -> tuple[int, int]:
    """(quantized, float) numbers of compute nodes in `counts`, copies and casts left out."""
    return (sum(count for name, count in counts.items() if runs_quantized(name)),
            sum(count for name, count in counts.items() if runs_in_float(name)))
