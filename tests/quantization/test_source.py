"""Models that can't be quantized end in one line, whichever way they were to be quantized."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper
from onnx.external_data_helper import convert_model_to_external_data
from refusals import refusal
from run_onnx import constants_as_nodes, model_of
from static_model import quantize_statically
from synthetic import model_params, random_pictures, recipe

from stages.onnx_graph.layers import arrays_of
from stages.quantization.dynamic import quantize_dynamically
from stages.quantization.source import load_float_model


def layer(opset=18, sides=(8, 8), weight=1.0, operator="Conv", name="input", batch="batch"):
    node = (helper.make_node("Conv", [name, "w"], ["y"]) if operator == "Conv"
            else helper.make_node(operator, [name], ["y"]))
    weights = np.full((2, 3, 1, 1), 0.5, dtype=np.float32)
    weights[1, 2] = weight
    return model_of([node], {name: [batch, 3, *sides]}, {"y": None},
                    {"w": weights} if operator == "Conv" else {}, opset)


def classifier(bias, **options):
    nodes = [helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
             helper.make_node("Flatten", ["pooled"], ["flat"]),
             helper.make_node("Gemm", ["flat", "w", "b"], ["y"], name="head", transB=1, **options)]
    return model_of(nodes, {"input": ["batch", 3, 8, 8]}, {"y": None},
                    {"w": np.ones((5, 3), np.float32), "b": np.float32(bias)})


def of_halves():
    model = layer()
    for typed in (model.graph.input[0].type.tensor_type, model.graph.output[0].type.tensor_type):
        typed.elem_type = TensorProto.FLOAT16
    [weight] = model.graph.initializer
    weight.CopyFrom(helper.make_tensor("w", TensorProto.FLOAT16, weight.dims,
                                       np.full(weight.dims, 0.5)))
    return model


def with_weights(kind):
    """Weights of another kind than float, cast where they are used."""
    weights = np.ones((3, 2), kind)
    return model_of([helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
                     helper.make_node("Flatten", ["pooled"], ["flat"]),
                     helper.make_node("Cast", ["flat"], ["cast"],
                                      to=helper.np_dtype_to_tensor_dtype(weights.dtype)),
                     helper.make_node("MatMul", ["cast", "w"], ["product"]),
                     helper.make_node("Cast", ["product"], ["y"], to=TensorProto.FLOAT)],
                    {"input": ["batch", 3, 8, 8]}, {"y": None}, {"w": weights})


def quantized():
    return model_of([helper.make_node("QuantizeLinear", ["input", "step"], ["q"]),
                     helper.make_node("DequantizeLinear", ["q", "step"], ["d"]),
                     helper.make_node("Conv", ["d", "w"], ["y"])],
                    {"input": ["batch", 3, 8, 8]}, {"y": None},
                    {"step": np.float32(0.1), "w": np.ones((2, 3, 1, 1), np.float32)})


def outside():
    model = layer()
    convert_model_to_external_data(model, location="weights", size_threshold=0)
    return model


def with_operator_of(domain, *imported):
    model = model_of([helper.make_node("Mine", ["input"], ["y"], domain=domain)],
                     {"input": ["batch", 3, 8, 8]}, {"y": None}, {})
    model.opset_import.extend(helper.make_opsetid(each, 1) for each in imported)
    return model


def unshaped():
    model = layer()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    return model


GEMM = "the bias of Gemm 'head' has a factor, or is not of shape (5,)"
BAD = {
    "batch": (layer(batch=1), "input 'input' takes batches of 1 alone"),
    "factor": (classifier([1, 2, 3, 4, 5], beta=0.5), GEMM),
    "row": (classifier([[1, 2, 3, 4, 5]]), GEMM),
    "one bias": (classifier([1]), GEMM),
    "number": (classifier(1), GEMM),
    "empty": (ModelProto(), "not an ONNX model, or an empty one"),
    "opset": (layer(opset=12), "opset 12 is too old"),
    "open height": (layer(sides=("height", 8)), "input 'input' leaves its height or width open"),
    "open width": (layer(sides=(8, None)), "input 'input' leaves its height or width open"),
    "nan": (layer(weight=np.nan), "weight 'w' holds NaN or infinity"),
    "infinity": (layer(weight=-np.inf), "weight 'w' holds NaN or infinity"),
    "other input": (layer(name="x"), "its inputs are called x; expected is one, 'input'"),
    "halves": (of_halves(), "input 'input' is float16 of 4 dimensions; expected is float of 4"),
    "unshaped": (unshaped(), "input 'input' is float of 0 dimensions"),
    "doubles": (with_weights(np.float64), "weight 'w' is double; expected is float"),
    "quantized": (quantized(), "quantized already (it has DequantizeLinear, QuantizeLinear)"),
    "other file": (outside(), "its weights stand in another file; export it as one"),
    "unknown operator": (with_operator_of("my.own"), "No opset import for domain my.own"),
    "unknown domain": (with_operator_of("my.own", "my.own"), "not an ONNX model that can be run"),
    "nothing": (layer(operator="Relu"), "nothing to quantize"),
}


def test_a_good_model_is_read(tmp_path):
    onnx.save(layer(), tmp_path / "model.onnx")
    model = load_float_model(tmp_path / "model.onnx")
    assert arrays_of(model).keys() == {"w"}
    assert [(node.op_type, *node.input) for node in model.graph.node] == [("Conv", "input", "w")]
    assert all(node.name for node in model.graph.node)


def as_inputs(model):
    """Weights listed among the inputs, as before IR version 4."""
    model.graph.input.extend(helper.make_tensor_value_info(
        tensor.name, tensor.data_type, tensor.dims) for tensor in model.graph.initializer)


@pytest.mark.parametrize("change", [constants_as_nodes, as_inputs])
@pytest.mark.parametrize("method", ["dynamic", "static"])
def test_weights_of_a_file_of_ones_own_are_weights_however_they_are_written(tmp_path, change,
                                                                            method):
    source, target, model = tmp_path / "fp32.onnx", tmp_path / "int8.onnx", layer()
    change(model)
    helper.set_model_props(model, {"classes": "[]"})
    onnx.save(model, source)
    assert [value.name for value in load_float_model(source).graph.input] == ["input"]
    if method == "dynamic":
        quantize_dynamically(source, target, recipe("dynamic"))
    else:
        quantize_statically(source, target, recipe(adaptive_rounding=True),
                            model_params(image_size=8), random_pictures(3, 8, 8))
    arrays = arrays_of(onnx.load(target))
    assert arrays["w_quantized"].dtype == np.int8
    assert "classes" in {entry.key for entry in onnx.load(target).metadata_props}


def test_pictures_of_another_size_are_refused(tmp_path):
    onnx.save(layer(sides=(8, 9)), tmp_path / "model.onnx")
    message = refusal(quantize_statically, tmp_path / "model.onnx", tmp_path / "int8.onnx",
                      recipe(), model_params(image_size=8), random_pictures(3, 8, 8))
    assert "model.onnx: takes pictures of 3 by 8 by 9, not of 3 by 8 by 8; set" in message


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("method", ["dynamic", "static"])
def test_what_cannot_be_quantized_is_named_and_nothing_is_written(tmp_path, name, method):
    model, told = BAD[name]
    source, target = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    onnx.save(model, source)
    if method == "dynamic":
        message = refusal(quantize_dynamically, source, target, recipe("dynamic"))
    else:
        message = refusal(quantize_statically, source, target, recipe(),
                          model_params(image_size=8), random_pictures(3, 8, 8))
    assert message.startswith(f"{source}: ")
    assert told in message
    assert {path.name for path in tmp_path.iterdir()} <= {source.name, "weights"}


@pytest.mark.parametrize(("content", "told"), [(None, "no such file"), (b"no", "not an ONNX")])
def test_a_file_that_is_no_model_is_refused(tmp_path, content, told):
    if content:
        (tmp_path / "model.onnx").write_bytes(content)
    assert told in refusal(load_float_model, tmp_path / "model.onnx")
