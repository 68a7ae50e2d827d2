import numpy as np
import onnx
import pytest
from synthetic import TINY, lite0, model_params, recipe

from stages.inference.predictor import load_onnx, predict
from stages.onnx_graph.census import operator_counts
from stages.onnx_graph.layers import arrays_of
from stages.quantization.dynamic import quantize_dynamically


def integer_weights(path):
    """The weight of every integer convolution of the model at `path`."""
    model = onnx.load(path)
    arrays = arrays_of(model)
    return [arrays[node.input[1]] for node in model.graph.node if node.op_type == "ConvInteger"]


@pytest.fixture
def source(exported, tmp_path):
    onnx.save(exported(TINY, 32, 18)[2], tmp_path / "fp32.onnx")
    return tmp_path / "fp32.onnx"


def quantized(source, name="int8.onnx", **changes):
    target = source.with_name(name)
    quantize_dynamically(source, target, recipe("dynamic", **changes))
    return target


def test_convolutions_are_integer_and_ranges_are_found_at_run_time(lite0_files):
    counts = operator_counts(onnx.load(lite0_files["dynamic"]))
    assert counts["ConvInteger"] == 49
    assert counts["DynamicQuantizeLinear"] > 0
    assert not counts.keys() & {"Conv", "QuantizeLinear"}


@pytest.mark.parametrize(("weight_type", "stored"), [("QInt8", np.int8), ("QUInt8", np.uint8)])
def test_weight_type_follows_the_recipe(source, weight_type, stored):
    weights = integer_weights(quantized(source, weight_type=weight_type))
    assert len(weights) == 17
    assert {weight.dtype for weight in weights} == {np.dtype(stored)}


def test_per_channel_follows_the_recipe(source):
    def scales(per_channel):
        arrays = arrays_of(onnx.load(quantized(source, per_channel=per_channel)))
        return [array.size for name, array in arrays.items() if name.endswith("_scale")]

    assert set(scales(False)) == {1}
    assert max(scales(True)) > 1


def test_same_model_gives_the_same_bytes(source):
    before = source.read_bytes()
    assert quantized(source, "one.onnx").read_bytes() == quantized(source, "two.onnx").read_bytes()
    assert source.read_bytes() == before


def test_metadata_stays(source):
    held = {entry.key: entry.value for entry in onnx.load(quantized(source)).metadata_props}
    assert held["classes"] == '["left", "middle", "right"]'
    assert held["image_size"] == str(model_params().image_size)


def test_predictions_stay(lite0_files, dataset):
    pictures, (_, params) = dataset.images, lite0()
    expected, actual = (predict(load_onnx(lite0_files[name]), pictures, params)
                        for name in ("fp32", "dynamic"))
    assert np.corrcoef(expected.ravel(), actual.ravel())[0, 1] > 0.9
    assert len(lite0_files["dynamic"].read_bytes()) < 0.3 * len(lite0_files["fp32"].read_bytes())
