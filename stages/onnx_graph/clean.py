"""What an exporter leaves behind is removed; the function of the graph stays the same."""

import copy

import onnx
from onnx import numpy_helper
from onnxruntime import GraphOptimizationLevel

from stages.onnx_graph.attributes import attributes
from stages.onnx_graph.census import executed_graph

STANDARD_DOMAINS = ("", "ai.onnx")


def clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants, padding and batch-norm; pool by GlobalAveragePool; drop debug records.

    Constants and batch-norm are ONNX Runtime's to fold. Applying it twice gives the same model as
    applying it once.
    """
    model = executed_graph(_pool_globally(model).SerializeToString(),
                           GraphOptimizationLevel.ORT_ENABLE_BASIC)
    for node in model.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info,
                  *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    used = {node.domain for node in model.graph.node}
    kept = [o for o in model.opset_import if o.domain in used or o.domain in STANDARD_DOMAINS]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def _pool_globally(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn a ReduceMean over height and width into GlobalAveragePool, which can be quantized."""
    result = copy.deepcopy(model)
    constants = {tensor.name: tensor for tensor in result.graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(result).graph
    of_rank_four = {value.name for value in (*inferred.input, *inferred.value_info)
                    if len(value.type.tensor_type.shape.dim) == 4}
    for index, node in enumerate(result.graph.node):
        if (node.op_type == "ReduceMean" and node.input[0] in of_rank_four
                and _keeps_space(node, constants)):
            pooled = onnx.helper.make_node("GlobalAveragePool", [node.input[0]], node.output,
                                           name=node.name)
            result.graph.node[index].CopyFrom(pooled)
    return result


def _keeps_space(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    """Whether a ReduceMean runs over the two last of four axes and keeps them as ones."""
    found = attributes(node)
    axes = found.get("axes", [])
    if len(node.input) > 1 and node.input[1] in constants:
        axes = numpy_helper.to_array(constants[node.input[1]]).tolist()
    return found.get("keepdims", 1) == 1 and sorted(axes) in ([2, 3], [-2, -1])
