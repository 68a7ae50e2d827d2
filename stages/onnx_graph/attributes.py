"""The attributes of a node."""

from typing import Any

import onnx


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of `node` by name; those that it leaves at their defaults are not there."""
    return {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
