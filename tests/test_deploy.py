"""What deploy tells of a recipe; the stage itself runs in test_pipeline.py."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from omegaconf import OmegaConf
from refusals import refusal
from report_files import copy_metrics, edit_json
from synthetic import make_dataset, recipe
from tiny_model import SIDE, tiny_body

from stages import deploy, report
from stages.config.params import load_params
from stages.data.dataset import evenly
from stages.deploy import calibrated_on
from stages.deployment.metadata import sha256_of_value
from stages.inference.session import RECIPE_KEY

SELECTED = "int8_static"


@pytest.mark.parametrize("count", [None, 5])
def test_pictures_of_calibration(count):
    dataset = make_dataset()
    told = calibrated_on(recipe(calibration_images=count), dataset)
    positions = dataset.splits["calibration"]
    expected = positions if count is None else evenly(positions, count)
    assert told == {"images": len(expected),
                    "positions_sha256": sha256_of_value(expected.tolist())}


def test_hashes_are_of_what_the_model_was_made_of(folder, dataset, monkeypatch):
    """Another recipe of its own makes another model, one of another variant does not."""
    monkeypatch.setattr(deploy, "sha256_of_files", lambda *paths: [path.name for path in paths])
    evaluation = dict.fromkeys(deploy.ACCURACY, 1)

    def hashes(key=None, value=None):
        params = load_params("data", "model", "train", "export", "quantize.variants", "variants")
        if key:
            OmegaConf.update(params, key, value)
        facts = deploy.facts(params, SELECTED, evaluation, None, dataset, 18)
        assert facts["data_sha256"] == ["images.npy", "splits.json"]
        assert facts["fp32_sha256"] == ["onnx_fp32.onnx"]
        assert facts["variant_sha256"] == [f"{SELECTED}.onnx"]
        return facts["parameters_sha256"]

    plain = hashes()
    assert plain == hashes()
    assert plain == hashes("quantize.variants.int8_mixed.calibration_images", 7)
    others = [hashes("train.lr", 0.5), hashes("data.resolution", 7), hashes("export.opset", 13),
              hashes(f"quantize.variants.{SELECTED}.calibration_images", 7)]
    assert len({plain, *others}) == 5


def test_dynamic_quantization_saw_no_pictures():
    assert calibrated_on(recipe("dynamic"), make_dataset()) == {"images": 0}


def without(folder, variant):
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace(f"  {variant}: models/{variant}.onnx\n", ""))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The metrics in git, with int8_static selected: without VNNI, onnx_fp32 would be."""
    copy_metrics(tmp_path)
    edit_json(tmp_path / "metrics/summary.json",
              lambda summary: summary["selected"].update(variant=SELECTED))
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_selected_variant_that_params_lack_is_told(folder):
    without(folder, SELECTED)
    assert f"selects {SELECTED}, which params.yaml has not" in refusal(deploy.main)


def test_a_variant_of_a_recipe_that_params_lack_is_told(folder):
    model = tiny_body()
    onnx.helper.set_model_props(model, {RECIPE_KEY: '{"method": "static"}'})
    onnx.save(model, folder / "models" / f"{SELECTED}.onnx")
    params = OmegaConf.load("params.yaml")
    del params.quantize.variants[SELECTED]
    OmegaConf.save(params, "params.yaml")
    assert refusal(deploy.main).endswith(f"quantize.variants has no {SELECTED}; name it there")


@pytest.mark.parametrize("content", [None, b"no model"])
def test_a_missing_or_damaged_model_is_told(folder, content):
    path = Path("models") / f"{SELECTED}.onnx"
    if content:
        path.write_bytes(content)
    assert f"{path}: {'not an ONNX' if content else 'no such'}" in refusal(deploy.main)


def test_golden_answers_that_are_not_finite_are_refused(folder, dataset, monkeypatch):
    onnx.save(tiny_body(), folder / "models" / f"{SELECTED}.onnx")
    params = OmegaConf.load("params.yaml")
    params.model.image_size = SIDE
    OmegaConf.save(params, "params.yaml")
    monkeypatch.setattr(deploy, "load_dataset", lambda: dataset)
    monkeypatch.setattr(deploy.golden, "replay",
                        lambda session, sizes: np.full((len(sizes), 3), np.nan))
    assert f"{SELECTED}.onnx: gives NaN or infinity for" in refusal(deploy.main)
    assert [path.name for path in (folder / "models").iterdir()] == [f"{SELECTED}.onnx"]


def test_a_reference_that_params_lack_is_told(folder):
    without(folder, "onnx_fp32")
    assert "variants: has no onnx_fp32, which all others are compared with" in refusal(report.main)
