"""Error by layer."""

import numpy as np
import onnx
import pytest

from stages.quantization.layer_error import output_snr_db
from stages.quantization.rounding import with_rounded_weights


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(0)
    return [rng.standard_normal((4, 3, 32, 32)).astype(np.float32) for _ in range(2)]


def test_equal_models_have_no_error(lite0_files, batches):
    model = onnx.load(lite0_files["fp32"])
    assert min(output_snr_db(model, model, batches)) > 1000


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
