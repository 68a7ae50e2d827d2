"""Models that can't be quantized end in one line, whichever way they were to be quantized."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from refusals import refusal
from static_model import quantize_statically
from synthetic import model_params, random_pictures

from stages.config.schema import Recipe
from stages.quantization.dynamic import quantize_dynamically
from stages.quantization.source import load_float_model


def model_of(opset=18, sides=(8, 8), weight=1.0, operator="Conv"):
    node = (helper.make_node("Conv", ["x", "w"], ["y"]) if operator == "Conv"
            else helper.make_node(operator, ["x"], ["y"]))
    weights = np.full((2, 3, 1, 1), 0.5, dtype=np.float32)
    weights[1, 2] = weight
    graph = helper.make_graph(
        [node], "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, *sides])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "w")] if operator == "Conv" else [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


BAD = {
    "empty": (ModelProto(), "not an ONNX model, or an empty one"),
    "opset": (model_of(opset=12), "opset 12 is too old"),
    "open height": (model_of(sides=("height", 8)), "input 'x' leaves its height or width open"),
    "open width": (model_of(sides=(8, None)), "input 'x' leaves its height or width open"),
    "nan": (model_of(weight=np.nan), "weight 'w' holds NaN or infinity"),
    "infinity": (model_of(weight=-np.inf), "weight 'w' holds NaN or infinity"),
    "nothing": (model_of(operator="Relu"), "nothing to quantize"),
}


def test_a_good_model_is_read(tmp_path):
    onnx.save(model_of(), tmp_path / "model.onnx")
    assert load_float_model(tmp_path / "model.onnx") == model_of()


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("method", ["dynamic", "static"])
def test_what_cannot_be_quantized_is_named_and_nothing_is_written(tmp_path, name, method):
    model, told = BAD[name]
    source, target = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    onnx.save(model, source)
    if method == "dynamic":
        message = refusal(quantize_dynamically, source, target,
                          Recipe("dynamic", "QInt8", "QUInt8", False, "none", False))
    else:
        message = refusal(quantize_statically, source, target,
                          Recipe("static", "QInt8", "QUInt8", True, "minmax", False),
                          model_params(image_size=8), random_pictures(3, 8, 8))
    assert message.startswith(f"{source}: ")
    assert told in message
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(("content", "told"), [(None, "no such file"), (b"no", "not an ONNX")])
def test_a_file_that_is_no_model_is_refused(tmp_path, content, told):
    if content:
        (tmp_path / "model.onnx").write_bytes(content)
    assert told in refusal(load_float_model, tmp_path / "model.onnx")
