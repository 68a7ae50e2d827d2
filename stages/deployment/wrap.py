"""A classifier with preprocessing, softmax and argmax in its graph: pictures in, class out."""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper, version_converter

from stages.config.errors import UserError
from stages.config.schema import Model
from stages.deployment.runtime import CLASS_INDEX, LOGITS, PICTURES, PROBABILITIES
from stages.model.preprocess import UINT8_MAX
from stages.onnx_graph.opset import standard_opset

# Resize has antialias since opset 18. A body of an older opset is converted: the operators stay
# what they are, int8 weights and all, and ONNX Runtime runs the same kernels.
RESIZE_OPSET = 18
PREFIX = "deploy/"
# Of the nodes that are added, those that compute: resize, subtract, divide, softmax, argmax.
ADDED_FLOAT_NODES = 5


def wrap(body: onnx.ModelProto, params: Model) -> onnx.ModelProto:
    """Put `preprocess` before and softmax and argmax after `body`, whose nodes stay as they are.

    `body` takes float32 (batch, 3, S, S) and gives logits (batch, classes). The result takes uint8
    `pictures` (batch, height, width, 3) of any size and gives float32 `logits` and
    `probabilities` (batch, classes) and int64 `class_index` (batch,). It has no metadata.

    Raises:
        UserError: `body` is of an older opset and can't be converted.
    """
    model = onnx.ModelProto()
    model.CopyFrom(_with_names_of_its_own(_converted(body)))
    graph = model.graph
    classes = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    before, constants = preprocessing(params, graph.input[0].name)
    _rename(graph.node, graph.output[0].name, PREFIX + LOGITS)
    after = _decision(PREFIX + LOGITS)
    nodes = [*before, *graph.node, *after]
    # Behind a Reshape ONNX Runtime no longer knows that this is a batch of pictures, and leaves
    # sums apart that it would make part of a convolution.
    graph.value_info.append(graph.input[0])
    for field in (graph.node, graph.input, graph.output):
        del field[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    graph.input.append(_pictures_input())
    graph.output.extend([
        helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["batch", classes]),
        helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["batch", classes]),
        helper.make_tensor_value_info(CLASS_INDEX, TensorProto.INT64, ["batch"])])
    model.ir_version = max(model.ir_version, helper.find_min_ir_version_for(model.opset_import))
    del model.metadata_props[:]
    model.producer_name, model.producer_version = "stages.deploy", ""
    onnx.checker.check_model(model, full_check=True)
    return model


def _with_names_of_its_own(body: onnx.ModelProto) -> onnx.ModelProto:
    """`body`, its tensors under other names where they have those of what is added to it."""
    graph = body.graph
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    names -= {graph.output[0].name}  # which is renamed anyhow
    if (any(name.startswith(PREFIX) for name in names)
            or names & {PICTURES, LOGITS, PROBABILITIES, CLASS_INDEX}):
        return compose.add_prefix(body, "body/")
    return body


def _converted(body: onnx.ModelProto) -> onnx.ModelProto:
    opset = standard_opset(body)
    if opset >= RESIZE_OPSET:
        return body
    try:
        return version_converter.convert_version(body, RESIZE_OPSET)
    except (version_converter.ConvertError, RuntimeError) as error:
        raise UserError(f"export.opset: a model of opset {opset} can't be brought to "
                        f"{RESIZE_OPSET} ({str(error).splitlines()[0]}); export at "
                        f"{RESIZE_OPSET}") from None


def preprocessing(params: Model, output: str
                  ) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes and constants from `pictures` to `output`, step by step as stages.model.preprocess.

    Rows are normalized whole: to subtract three values from three at a time, pixel by pixel, takes
    ONNX Runtime several times as long.
    Channels come first only at the end: it moves a Transpose that stands before Resize past it, and
    then refuses the graph, since `sizes` names two axes of four.
    exclude_outside: PyTorch drops what lies outside the picture and lets the rest of the filter
    sum to one; by default, Resize repeats the edge, which is off by tens of grey levels there.
    """
    side = params.image_size
    shift, scale = (np.tile(np.float32(values) * np.float32(UINT8_MAX), side)
                    for values in (params.mean, params.std))
    constants = [numpy_helper.from_array(value, PREFIX + name) for name, value in (
        ("size", np.array([side, side])), ("shift", shift), ("scale", scale),
        ("rows", np.array([0, side, 3 * side])), ("pixels", np.array([0, side, side, 3])))]
    nodes = [
        helper.make_node("Cast", [PICTURES], [PREFIX + "float"], to=TensorProto.FLOAT),
        helper.make_node("Resize", [PREFIX + "float", "", "", PREFIX + "size"],
                         [PREFIX + "resized"], mode="linear", antialias=1, exclude_outside=1,
                         coordinate_transformation_mode="half_pixel", axes=[1, 2]),
        helper.make_node("Reshape", [PREFIX + "resized", PREFIX + "rows"], [PREFIX + "whole"]),
        helper.make_node("Sub", [PREFIX + "whole", PREFIX + "shift"], [PREFIX + "shifted"]),
        helper.make_node("Div", [PREFIX + "shifted", PREFIX + "scale"], [PREFIX + "normalized"]),
        helper.make_node("Reshape", [PREFIX + "normalized", PREFIX + "pixels"], [PREFIX + "last"]),
        helper.make_node("Transpose", [PREFIX + "last"], [output], perm=[0, 3, 1, 2])]
    for node in nodes:
        node.name = node.output[0] if node.op_type == "Reshape" else PREFIX + node.op_type
    return nodes, constants


def preprocessing_model(params: Model) -> onnx.ModelProto:
    """The preprocessing alone: uint8 `pictures` in, float32 (batch, 3, S, S) out."""
    output = PREFIX + "output"
    nodes, constants = preprocessing(params, output)
    side = params.image_size
    graph = helper.make_graph(nodes, "preprocessing", [_pictures_input()], [
        helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 3, side, side])],
        constants)
    return helper.make_model_gen_version(graph, opset_imports=[helper.make_opsetid(
        "", RESIZE_OPSET)])


def _pictures_input() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(PICTURES, TensorProto.UINT8,
                                         ["batch", "height", "width", 3])


def _decision(logits: str) -> list[onnx.NodeProto]:
    """Nodes from the body's `logits` to the outputs.

    Flatten changes nothing. It gives the dequantization of the logits one reader: with several,
    ONNX Runtime copies it for each, no longer sees the pair around the last layer, and runs that
    layer in float.
    """
    nodes = [helper.make_node("Flatten", [logits], [LOGITS], axis=1),
             helper.make_node("Softmax", [LOGITS], [PROBABILITIES], axis=1),
             helper.make_node("ArgMax", [LOGITS], [CLASS_INDEX], axis=1, keepdims=0)]
    for node in nodes:
        node.name = PREFIX + node.op_type
    return nodes


def _rename(nodes: Iterable[onnx.NodeProto], old: str, new: str) -> None:
    """Give the tensor `old` of `nodes` another name, in place."""
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
