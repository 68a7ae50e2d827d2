"""What an exporter leaves behind is removed; the function of the graph stays the same."""

import copy
from collections import Counter

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime import GraphOptimizationLevel

from stages.onnx_graph.attributes import attributes
from stages.onnx_graph.census import executed_graph
from stages.onnx_graph.layers import arrays_of
from stages.onnx_graph.opset import STANDARD_DOMAINS
from stages.onnx_graph.readers import reads


def clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants, padding and batch-norm; pool by GlobalAveragePool; drop debug records.

    Constants, batch-norm and the padding of convolutions are ONNX Runtime's to fold, that of
    pooling is folded here. Every node has a name of its own. Applying it twice gives the same model
    as applying it once.
    """
    model = _folded(_pool_globally(model))
    pooled = _pool_globally(model)  # axes that nodes made are constants by now
    if pooled != model:
        model = _folded(pooled)
    _pad_in_pools(model)
    name_nodes(model.graph)
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


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give a node without a name, or with an earlier one's, a name of its own, in place.

    Layers are kept out of quantization by the names of their nodes.
    """
    taken, seen = {node.name for node in graph.node}, {""}
    for node in graph.node:
        if node.name in seen:
            name = node.output[0]
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
        seen.add(node.name)


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    return executed_graph(model.SerializeToString(), GraphOptimizationLevel.ORT_ENABLE_BASIC)


def _pad_in_pools(model: onnx.ModelProto) -> None:
    """Fold a Pad by minus infinity, constant, into the MaxPool behind it, which pads by that."""
    graph, constants = model.graph, arrays_of(model)
    made = {node.output[0]: node for node in graph.node}
    uses = Counter(name for node in graph.node for name in reads(node))
    uses.update(value.name for value in graph.output)
    for pool in [*graph.node]:
        pad = made.get(pool.input[0]) if pool.op_type == "MaxPool" else None
        if pad is None or uses[pad.output[0]] > 1 or not _pads_by_infinity(pad, constants):
            continue
        options, outer = attributes(pool), constants[pad.input[1]].reshape(2, -1)
        kernel = options["kernel_shape"]
        # Before and after, by axis; a pool pads by less than its kernel.
        pads = outer[:, 2:] + np.array(options.get("pads", [0] * 2 * len(kernel))).reshape(2, -1)
        if (outer[:, :2].any() or (pads < 0).any() or (pads >= kernel).any()
                or options.get("auto_pad", b"NOTSET") != b"NOTSET"
                # Rounded up, a window may begin in what is padded; a pool drops it.
                or options.get("ceil_mode")):
            continue
        kept = [entry for entry in pool.attribute if entry.name != "pads"]
        del pool.attribute[:]
        pool.attribute.extend([*kept, onnx.helper.make_attribute("pads", pads.ravel().tolist())])
        pool.input[0] = pad.input[0]
        graph.node.remove(pad)
        uses.subtract(pad.input[1:])  # the pool reads the first one now
        for tensor in [each for each in graph.initializer
                       if each.name in pad.input and not uses[each.name]]:
            graph.initializer.remove(tensor)


def _pads_by_infinity(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> bool:
    """Whether a node is a Pad of all axes by minus infinity, as many as a constant says."""
    return (node.op_type == "Pad" and len(node.input) == 3
            and attributes(node).get("mode", b"constant") == b"constant"
            and node.input[1] in constants and node.input[2] in constants
            and bool(np.all(constants[node.input[2]] == -np.inf)))


def _pool_globally(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn a ReduceMean over height and width into GlobalAveragePool, which can be quantized.

    Where the mean drops the two axes, a Flatten does.
    """
    result = copy.deepcopy(model)
    constants = {tensor.name: tensor for tensor in result.graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(result).graph
    of_rank_four = {value.name for value in (*inferred.input, *inferred.value_info)
                    if len(value.type.tensor_type.shape.dim) == 4}
    nodes = [*result.graph.node]
    del result.graph.node[:]
    for node in nodes:
        if not (node.op_type == "ReduceMean" and node.input[0] in of_rank_four
                and _is_over_space(node, constants)):
            result.graph.node.append(node)
            continue
        keeps = attributes(node).get("keepdims", 1)
        pooled = node.output[0] if keeps else f"{node.output[0]}_pooled"
        result.graph.node.append(onnx.helper.make_node(
            "GlobalAveragePool", [node.input[0]], [pooled], name=node.name))
        if not keeps:
            result.graph.node.append(onnx.helper.make_node(
                "Flatten", [pooled], node.output, name=f"{node.name}_flatten"))
    return result


def _is_over_space(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    """Whether a ReduceMean of four axes runs over the two last."""
    axes = attributes(node).get("axes", [])
    if len(node.input) > 1 and node.input[1] in constants:
        axes = numpy_helper.to_array(constants[node.input[1]]).tolist()
    return sorted(axes) in ([2, 3], [-2, -1])
