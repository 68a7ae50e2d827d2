"""What deploy tells of a recipe; the stage itself runs in test_pipeline.py."""

from dataclasses import replace

import onnx
import pytest
from omegaconf import OmegaConf
from refusals import refusal
from report_files import copy_metrics, selected_in
from synthetic import make_dataset
from tiny_model import tiny_body

from stages import deploy, report
from stages.config.schema import Recipe
from stages.deploy import calibrated_on
from stages.deployment.metadata import sha256_of_value
from stages.measurement.saturation import RECIPE_KEY

STATIC = Recipe("static", "QInt8", "QUInt8", True, "minmax", False)


@pytest.mark.parametrize("count", [None, 5])
def test_pictures_of_calibration(count):
    dataset = make_dataset()
    told = calibrated_on(replace(STATIC, calibration_images=count), dataset)
    assert told["images"] == (count or len(dataset.splits["calibration"]))
    assert (told["positions_sha256"] == sha256_of_value(
        dataset.splits["calibration"].tolist())) is (count is None)


def test_dynamic_quantization_saw_no_pictures():
    assert calibrated_on(Recipe("dynamic", "QInt8", "QUInt8", False, "none", False),
                         make_dataset()) == {"images": 0}


def without(folder, variant):
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace(f"  {variant}: models/{variant}.onnx\n", ""))


def test_a_selected_variant_that_params_lack_is_told(tmp_path, monkeypatch):
    copy_metrics(tmp_path)
    monkeypatch.chdir(tmp_path)
    selected = selected_in(tmp_path)
    without(tmp_path, selected)
    assert f"selects {selected}, which params.yaml has not" in refusal(deploy.main)


def test_a_variant_of_a_recipe_that_params_lack_is_told(tmp_path, monkeypatch):
    copy_metrics(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    name = selected_in(tmp_path)
    model = tiny_body()
    onnx.helper.set_model_props(model, {RECIPE_KEY: '{"method": "static"}'})
    onnx.save(model, tmp_path / "models" / f"{name}.onnx")
    params = OmegaConf.load("params.yaml")
    del params.quantize.variants[name]
    OmegaConf.save(params, "params.yaml")
    assert refusal(deploy.main).endswith(f"quantize.variants has no {name}; name it there")


@pytest.mark.parametrize("content", [None, b"no model"])
def test_a_missing_or_damaged_model_is_told(tmp_path, monkeypatch, content):
    copy_metrics(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "models" / f"{selected_in(tmp_path)}.onnx"
    path.parent.mkdir()
    if content:
        path.write_bytes(content)
    assert f"{path.relative_to(tmp_path)}: {'not an ONNX' if content else 'no such'}" in refusal(
        deploy.main)


def test_a_reference_that_params_lack_is_told(tmp_path, monkeypatch):
    copy_metrics(tmp_path)
    monkeypatch.chdir(tmp_path)
    without(tmp_path, "onnx_fp32")
    assert "variants: has no onnx_fp32, which all others are compared with" in refusal(report.main)
