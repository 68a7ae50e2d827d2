"""The CPU's INT8 arithmetic, and the warning of a model that it does not suit."""

import logging
import platform
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from stages.inference import saturation
from stages.inference.cpu import cpu_flags, integer_unit
from stages.inference.saturation import PRODUCT, products_saturate, warn_if_saturating

U8S8 = {"method": "static", "activation_type": "QUInt8", "weight_type": "QInt8",
        "reduce_range": False}


@pytest.fixture(autouse=True)
def forget():
    products_saturate.cache_clear()
    yield
    products_saturate.cache_clear()


class Session:
    """Multiplies as a CPU does that adds two products in 16 bits."""

    def __init__(self, *_, **__):
        pass

    def run(self, _, feeds):
        pairs = np.full((4, 16), 2 * 255 * 127).clip(-2**15, 2**15 - 1)
        return [(pairs * (feeds["left"].shape[1] // 2)).astype(np.int32)]


def test_products_are_exact_where_the_flags_say_so_and_saturate_where_they_do(monkeypatch):
    unit = integer_unit(cpu_flags(), platform.machine())
    if unit in ("AMX", "VNNI", "Arm dot product"):
        assert products_saturate() is False
    elif unit == "AVX2":
        assert products_saturate() is True
    products_saturate.cache_clear()
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    assert products_saturate() is True


def test_the_product_is_the_model_it_is_said_to_be():
    tensors = {"left": TensorProto.UINT8, "right": TensorProto.INT8, "product": TensorProto.INT32}
    left, right, product = (helper.make_tensor_value_info(name, kind, None)
                            for name, kind in tensors.items())
    node = helper.make_node("MatMulInteger", ["left", "right"], ["product"])
    graph = helper.make_graph([node], "probe", [left, right], [product])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    assert made.SerializeToString(deterministic=True) == PRODUCT


@pytest.mark.parametrize(("recipe", "saturates", "warned"), [
    (U8S8, True, True), ({**U8S8, "method": "mixed"}, True, True), (U8S8, False, False),
    ({**U8S8, "reduce_range": True}, True, False), ({**U8S8, "method": "dynamic"}, True, False),
    ({**U8S8, "activation_type": "QInt8"}, True, True),
    ({**U8S8, "weight_type": "QUInt8"}, True, False), (None, True, False)])
def test_warning_at_load(monkeypatch, caplog, recipe, saturates, warned):
    monkeypatch.setattr(saturation, "products_saturate", lambda: saturates)
    with caplog.at_level(logging.WARNING):
        warn_if_saturating(Path("models/int8.onnx"), recipe)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == warned
    assert all("models/int8.onnx" in message and "reduce_range" in message for message in told)
