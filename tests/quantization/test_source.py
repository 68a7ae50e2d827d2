"""Models that can't be quantized end in one line, whichever way they were to be quantized."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper
from refusals import refusal
from run_onnx import model_of
from static_model import quantize_statically
from synthetic import model_params, random_pictures, recipe

from stages.onnx_graph.names import name_nodes
from stages.quantization.dynamic import quantize_dynamically
from stages.quantization.source import load_float_model


def layer(opset=18, sides=(8, 8), weight=1.0, operator="Conv", name="input"):
    node = (helper.make_node("Conv", [name, "w"], ["y"]) if operator == "Conv"
            else helper.make_node(operator, [name], ["y"]))
    weights = np.full((2, 3, 1, 1), 0.5, dtype=np.float32)
    weights[1, 2] = weight
    return model_of([node], {name: ["batch", 3, *sides]}, {"y": None},
                    {"w": weights} if operator == "Conv" else {}, opset)


BAD = {
    "empty": (ModelProto(), "not an ONNX model, or an empty one"),
    "opset": (layer(opset=12), "opset 12 is too old"),
    "open height": (layer(sides=("height", 8)), "input 'input' leaves its height or width open"),
    "open width": (layer(sides=(8, None)), "input 'input' leaves its height or width open"),
    "nan": (layer(weight=np.nan), "weight 'w' holds NaN or infinity"),
    "infinity": (layer(weight=-np.inf), "weight 'w' holds NaN or infinity"),
    "other input": (layer(name="x"), "its inputs are called x; expected is one, 'input'"),
    "nothing": (layer(operator="Relu"), "nothing to quantize"),
}


def test_a_good_model_is_read(tmp_path):
    onnx.save(layer(), tmp_path / "model.onnx")
    expected = layer()
    name_nodes(expected.graph)
    assert load_float_model(tmp_path / "model.onnx") == expected
    assert all(node.name for node in expected.graph.node)


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
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(("content", "told"), [(None, "no such file"), (b"no", "not an ONNX")])
def test_a_file_that_is_no_model_is_refused(tmp_path, content, told):
    if content:
        (tmp_path / "model.onnx").write_bytes(content)
    assert told in refusal(load_float_model, tmp_path / "model.onnx")
