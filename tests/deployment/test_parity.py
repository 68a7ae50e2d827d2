import numpy as np
import pandas as pd
import pytest
from refusals import refusal
from synthetic import model_params, random_pictures
from tiny_model import PARAMS, SIDE, write_deployed

from stages.deployment import parity
from stages.deployment.parity import (
    check_parity,
    check_quantized,
    grey_level_difference,
    prediction_difference,
    predictions_of,
)
from stages.deployment.runtime import load_deployed

GOOD = {"images": 400, "class_agreement": 1.0, "mean_confidence_diff": 0.0}


def test_grey_levels_are_within_the_bound():
    batches = [random_pictures(2, *size) for size in ((SIDE, SIDE), (70, 45), (4, 90))]
    assert grey_level_difference(batches[:1], PARAMS) < 1e-4
    assert grey_level_difference(batches, PARAMS) < parity.MAX_GREY_LEVELS


def test_another_normalization_is_seen_in_grey_levels(monkeypatch):
    other = parity.preprocessing_model(model_params(image_size=SIDE))
    monkeypatch.setattr(parity, "preprocessing_model", lambda params: other)
    params = model_params(image_size=SIDE)
    params.mean = [value + 2 / 255 for value in params.mean]
    assert grey_level_difference([random_pictures(2, SIDE, SIDE)], params) == pytest.approx(
        2, rel=1e-3)


@pytest.fixture
def compared(tmp_path):
    model = load_deployed(write_deployed(tmp_path / "deploy.onnx"))
    pictures = random_pictures(70, SIDE, SIDE)  # more than a batch
    _, probabilities, index = model.run(pictures)
    return model, pictures, pd.DataFrame({
        "label": np.zeros(70, dtype=int), "predicted": index,
        "confidence": probabilities.max(axis=1).round(6)})


def test_predictions_of_other_pictures_are_refused():
    table = pd.DataFrame({"split": ["validation", "test", "test"], "position": [4, 2, 7]})
    assert predictions_of(table, "test", np.array([2, 7])).position.tolist() == [2, 7]
    for positions in ([2], [2, 7, 9], [2, 8]):
        told = refusal(predictions_of, table, "test", np.array(positions))
        assert "the predictions on test are not of the present pictures" in told


def test_same_predictions(compared):
    found = prediction_difference(*compared)
    assert found["images"] == 70
    assert found["class_agreement"] == 1
    assert found["max_confidence_diff"] <= 1e-6
    assert found["accuracy"] == (compared[2].predicted == 0).mean()
    check_parity(0.0, SIDE, {"validation": found})


def test_other_predictions(compared):
    model, pictures, expected = compared
    expected.loc[3, "predicted"] = (expected.predicted[3] + 1) % 3
    expected.loc[4, "confidence"] += 0.07
    found = prediction_difference(model, pictures, expected)
    assert found["class_agreement"] == pytest.approx(69 / 70)
    assert found["max_confidence_diff"] == pytest.approx(0.07, abs=1e-5)
    assert found["mean_confidence_diff"] == pytest.approx(0.001, abs=1e-5)


@pytest.mark.parametrize(("grey_levels", "change", "told"), [
    (0.03, {}, "0.03 grey levels"), (float("nan"), {}, "nan grey levels"),
    (0, {"class_agreement": 379 / 400}, "on validation, the class of 21 of 400"),
    (0, {"images": 10, "class_agreement": 0.8}, "on validation, the class of 2 of 10"),
    (0, {"mean_confidence_diff": 0.011}, "0.011 on average"),
    (0, {"mean_confidence_diff": float("nan")}, "nan on average")])
def test_what_is_out_of_bounds_is_told(grey_levels, change, told):
    assert told in refusal(check_parity, grey_levels, SIDE, {"validation": {**GOOD, **change}})


def test_large_pictures_may_differ_by_more():
    assert "accepted are 0.02" in refusal(check_parity, 0.03, 500, {})
    check_parity(0.03, 800, {})


@pytest.mark.parametrize(("images", "tipped"), [(7, 1), (19, 1), (400, 20)])
def test_near_ties_may_tip(images, tipped):
    agreement = (images - tipped) / images
    check_parity(0, SIDE, {"test": {**GOOD, "images": images, "class_agreement": agreement}})


def test_nodes_that_turn_to_float_are_told():
    check_quantized((60, 0), (60, 5), 5)
    assert "60 nodes ran in INT8" in refusal(check_quantized, (60, 0), (59, 5), 5)
    assert "now 60 and 6" in refusal(check_quantized, (60, 0), (60, 6), 5)
