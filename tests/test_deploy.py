"""What deploy tells of a recipe; the stage itself runs in test_pipeline.py."""

from dataclasses import replace

import pytest
from refusals import refusal
from report_files import copy_metrics
from synthetic import make_dataset

from stages import deploy, report
from stages.config.schema import QuantizedVariant
from stages.deploy import calibrated_on
from stages.deployment.metadata import sha256_of_value

STATIC = QuantizedVariant("static", "QInt8", "QUInt8", True, "minmax", False)


@pytest.mark.parametrize("count", [None, 5])
def test_pictures_of_calibration(count):
    dataset = make_dataset()
    told = calibrated_on(replace(STATIC, calibration_images=count), dataset)
    assert told["images"] == (count or len(dataset.splits["calibration"]))
    assert (told["positions_sha256"] == sha256_of_value(
        dataset.splits["calibration"].tolist())) is (count is None)


def test_dynamic_quantization_saw_no_pictures():
    assert calibrated_on(QuantizedVariant("dynamic", "QInt8", "QUInt8", False, "none", False),
                         make_dataset()) == {"images": 0}


@pytest.mark.parametrize(("stage", "variant", "told"), [
    (deploy, "int8_static", "selects int8_static, which params.yaml has not"),
    (report, "onnx_fp32", "variants: has no onnx_fp32, which all others are compared with")])
def test_a_variant_that_params_lack_is_told(tmp_path, monkeypatch, stage, variant, told):
    copy_metrics(tmp_path)
    monkeypatch.chdir(tmp_path)
    params = tmp_path / "params.yaml"
    params.write_text(params.read_text().replace(f"  {variant}: models/{variant}.onnx\n", ""))
    assert told in refusal(stage.main)
