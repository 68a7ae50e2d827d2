"""The version of the standard operators that a graph is written in."""

import onnx

STANDARD_DOMAINS = ("", "ai.onnx")


def standard_opset(model: onnx.ModelProto) -> int:
    """That version; 0 for a model that names none."""
    return max((entry.version for entry in model.opset_import
                if entry.domain in STANDARD_DOMAINS), default=0)
