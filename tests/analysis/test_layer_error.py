"""Error by layer."""

import numpy as np
import onnx
import pytest
from inverted_residual import SIDE, network
from onnx import numpy_helper
from synthetic import random_batch

from stages.analysis.layer_error import output_snr_db
from stages.analysis.rounding import with_rounded_weights
from stages.measurement.noise import MOST_DB


@pytest.fixture(scope="module")
def batches():
    return np.split(random_batch(8, 32), 2)


def test_equal_models_have_no_error(lite0_files, batches):
    model = onnx.load(lite0_files["fp32"])
    assert min(output_snr_db(model, model, batches)) == MOST_DB


def test_published_lite0_weights_lose_more_per_tensor_in_every_layer(lite0_files, batches):
    model = onnx.load(lite0_files["fp32"])
    per_tensor, per_channel = (output_snr_db(
        model, with_rounded_weights(model, per_channel=flag), batches) for flag in (False, True))
    assert len(per_tensor) == len(per_channel) == 50
    assert all(a < b for a, b in zip(per_tensor[:-1], per_channel[:-1], strict=True))


def test_batches_add_up(lite0_files, batches):
    model = onnx.load(lite0_files["fp32"])
    rounded = with_rounded_weights(model, per_channel=False)
    together = output_snr_db(model, rounded, [np.concatenate(batches)])
    np.testing.assert_allclose(output_snr_db(model, rounded, batches), together, atol=1e-3)


def test_rounded_copy_of_a_tensor_is_what_counts():
    model, changed = network("Relu"), network("Relu")
    for node in changed.graph.node:
        node.input[:] = ["stem_rounded" if name == "stem_a" else name for name in node.input]
    index = next(index for index, node in enumerate(changed.graph.node)
                 if node.output[0] == "stem_a")
    nodes = list(changed.graph.node)
    del changed.graph.node[:]
    changed.graph.node.extend(nodes[:index + 1])
    changed.graph.initializer.append(numpy_helper.from_array(np.float32(0.9), "factor"))
    changed.graph.node.add(op_type="Mul", input=["stem_a", "factor"],
                           output=["stem_a_DequantizeLinear_Output"])
    changed.graph.node.add(op_type="Identity", input=["stem_a_DequantizeLinear_Output"],
                           output=["stem_rounded"])
    changed.graph.node.extend(nodes[index + 1:])
    batch = random_batch(4, SIDE)
    assert output_snr_db(model, changed, [batch], ["stem_a"]) == pytest.approx([20], abs=1e-3)
    assert output_snr_db(model, changed, [batch], ["stem"])[0] == MOST_DB


def test_tensor_that_the_changed_model_lacks_has_no_ratio():
    batch = np.zeros((1, 3, SIDE, SIDE), np.float32)
    found = output_snr_db(network("SiLU"), network("Relu"), [batch], ["stem_gate", "stem"])
    assert np.isnan(found).tolist() == [True, False]
