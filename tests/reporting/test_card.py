import json
import re

import pytest
import yaml
from paths import ROOT
from tiny_model import facts

from stages.reporting.card import model_card
from stages.reporting.license import WeightsOrigin

RUN = ROOT / "docs" / "results" / "cifar10"
SUMMARY, SYSTEM = (json.loads((RUN / f"{name}.json").read_text(encoding="utf-8"))
                   for name in ("summary", "system"))
ORIGIN = WeightsOrigin("Training began with weights of a shop.", "cc-by-4.0")
TRAINING = {"parameters": 1234567, "epochs": 9, "best": {"epoch": 7}}
BY_CLASS = {"left": 0.9, "middle": 0.5, "right": 0.75, "none": 1.0}


def card(origin=ORIGIN, **changes):
    return model_card(SUMMARY, facts(**changes), {"by_class": BY_CLASS}, TRAINING, SYSTEM,
                      {"size_mb": 3.5, "parity": {"test": {"accuracy": 0.865}}},
                      origin)


def front_matter(page):
    return yaml.safe_load(re.match(r"---\n(.*?)---\n", page, re.S)[1])


def test_front_matter_has_the_keys_of_the_hub():
    front = front_matter(card())
    assert set(front) == {"license", "library_name", "pipeline_tag", "tags", "datasets", "metrics",
                          "model-index"}
    assert front["datasets"] == ["bands"]
    result = front["model-index"][0]["results"][0]
    assert result["task"]["type"] == front["pipeline_tag"] == "image-classification"
    assert result["metrics"] == [{"type": "accuracy", "name": "Test accuracy", "value": 0.875}]


def test_numbers_come_from_the_metrics():
    page = card()
    for text in ("87.50 % right", "normalization in it, has 86.50 %", "74.00 to 94.50 %",
                 "40 test pictures", "1,234,567 parameters",
                 "epoch 7", "3.50 MB", "middle (50.00 %), right (75.00 %), left (90.00 %)",
                 "calibrated on 20 pictures", "ImageOps.exif_transpose", "ImageOps.fit",
                 "(12, 12)"):
        assert text in page.replace("\n", " "), text
    assert f"| **{SUMMARY['selected']['variant']}** |" in page
    for title in ("Intended use", "How to use", "Training", "Results", "Limits", "License"):
        assert f"\n## {title}\n" in page


def test_license_is_that_of_the_weights():
    page = card()
    assert front_matter(page)["license"] == "cc-by-4.0"
    assert "\n## License\n\nTraining began with weights of a shop." in page


def test_license_that_is_not_known_has_a_name_as_the_hub_wants():
    front = front_matter(card(WeightsOrigin("Of a file.", "other")))
    assert (front["license"], front["license_name"]) == ("other", "see-below")


@pytest.mark.parametrize(("calibration", "told"), [
    (None, "float32"), ({"method": "dynamic", "weight_type": "QInt8"}, "without calibration")])
def test_float_and_dynamic_need_no_vnni(calibration, told):
    page = card(calibration=calibration)
    assert told in page
    assert "VNNI" not in page
    assert "VNNI" in card()


@pytest.mark.parametrize(("change", "warned"), [
    ({}, True), ({"reduce_range": True}, False), ({"weight_type": "QUInt8"}, False)])
def test_vnni_is_missed_only_where_sums_can_be_cut_off(change, warned):
    page = card(calibration={**facts()["calibration"], **change})
    assert ("VNNI" in page) is warned


def test_bits_are_told_where_one_is_left_out():
    recipe = {**facts()["calibration"], "reduce_range": True}
    assert "weights QInt8 of 7 bits" in card(calibration=recipe)
    assert "7 bits" not in card()


def test_fine_tuning_is_told():
    recipe = {**facts()["calibration"], "qat": {"steps": 7}}
    told = "fine-tuned for 7 steps on pictures of training without their labels"
    assert told in card(calibration=recipe)
    assert "fine-tuned" not in card()


def test_example_on_the_card_is_python():
    [block] = re.findall(r"```python\n(.*?)```", card(), re.S)
    compile(block, "card", "exec")


def test_names_of_classes_start_no_tag():
    page = card(classes=["<b>left", "right"])
    assert "&lt;b>left" in page
    assert "<b>left" not in page
