"""What is in a graph: as it is written, and as ONNX Runtime really runs it."""

import tempfile
from collections import Counter
from pathlib import Path

import onnx
import onnxruntime

QUANTIZED_PREFIXES = ("QLinear", "QGemm", "QAttention")
QUANTIZED = {"ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"}
NOT_COMPUTE = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "Reshape",
               "Flatten", "Transpose", "ReorderInput", "ReorderOutput", "Squeeze", "Unsqueeze",
               "Identity", "Constant", "Shape", "Gather", "Slice", "Concat"}


def operator_counts(model: onnx.ModelProto) -> dict[str, int]:
    """Number of nodes by operator, most frequent first."""
    counts = Counter(node.op_type for node in model.graph.node)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def executed_graph(path: Path) -> onnx.ModelProto:
    """The graph that ONNX Runtime runs for the model at `path` on this CPU."""
    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(optimized)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return onnx.load(optimized)


def quantized_and_float(counts: dict[str, int]) -> tuple[int, int]:
    """(quantized, float) numbers of compute nodes in `counts`, copies and casts left out."""
    quantized = sum(count for name, count in counts.items()
                    if name in QUANTIZED or name.startswith(QUANTIZED_PREFIXES))
    moved = sum(count for name, count in counts.items() if name in NOT_COMPUTE)
    return quantized, sum(counts.values()) - quantized - moved
