"""Streamed calibration against ONNX Runtime's own, and against the activations themselves."""

import json

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import MinMaxCalibrater
from refusals import refusal
from synthetic import TINY, random_batch

from stages.onnx_graph.names import INPUT
from stages.quantization.calibration import OPERATORS, FeedReader, calibrate, record
from stages.quantization.histogram import BINS
from stages.quantization.ranges import PERCENTILE, RANGE_OF

BATCH = random_batch(6, 32)


def feeds_of(*sizes):
    """BATCH in batches of `sizes`."""
    parts = np.split(BATCH, np.cumsum(sizes)[:-1])
    return [{INPUT: part} for part in parts]


@pytest.fixture(scope="module")
def model(exported):
    return exported(TINY, 32, 18)[2]


@pytest.fixture(scope="module")
def reference(model, tmp_path_factory):
    """Ranges by ONNX Runtime's own calibrator, all pictures in one batch."""
    folder = tmp_path_factory.mktemp("reference")
    onnx.save(model, folder / "model.onnx")
    calibrater = MinMaxCalibrater(folder / "model.onnx", OPERATORS, str(folder / "augmented.onnx"))
    calibrater.augment_graph()
    calibrater.create_inference_session()
    calibrater.collect_data(FeedReader([{INPUT: BATCH}]))
    return {name: tuple(float(np.squeeze(each)) for each in data.range_value)
            for name, data in calibrater.compute_data().items()}


def test_minmax_is_that_of_onnx_runtime(model, reference):
    ranges = calibrate(model, "minmax", feeds_of(1, 2, 3))
    assert ranges == reference
    assert ranges[INPUT] == (BATCH.min(), BATCH.max())


@pytest.mark.parametrize("method", RANGE_OF)
def test_histograms_cover_the_same_tensors_and_batches_do_not_matter(model, reference, method):
    whole = calibrate(model, method, feeds_of(6))
    assert list(whole) == [name for name in calibrate(model, "minmax", feeds_of(6))
                           if name in whole]
    assert whole.keys() == reference.keys()
    for name, (lowest, highest) in whole.items():
        assert min(reference[name][0], 0) <= lowest <= 0 <= highest <= max(reference[name][1], 0)
    in_parts = calibrate(model, method, feeds_of(1, 2, 3))
    # What differs is the order of sums within a batched product.
    np.testing.assert_allclose(list(in_parts.values()), list(whole.values()), rtol=0.05, atol=1e-6)


@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_an_activation_that_is_not_finite_is_refused_by_name(model, method):
    feeds = [{INPUT: np.full_like(BATCH[:1], 3e38)}]
    assert "of the float model is not finite" in refusal(calibrate, model, method, feeds)


def test_record_holds_settings_pictures_and_ranges():
    ranges = {"input": (np.float32(-1.5), np.float32(2.25))}
    held = json.loads(json.dumps(record("percentile", np.array([3, 5, 8]), ranges)))
    assert held == {"method": "percentile", "bins": BINS, "percentile": PERCENTILE, "images": 3,
                    "positions": [3, 5, 8],
                    "ranges": [{"tensor": "input", "lowest": -1.5, "highest": 2.25}]}
    assert record("minmax", np.array([1]), {}).keys() == {"method", "images", "positions",
                                                          "ranges"}
