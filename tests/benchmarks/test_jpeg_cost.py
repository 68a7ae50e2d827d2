"""What JPEG costs: two kinds of the same pictures, trained on and tested alike."""

import json
import sys
from functools import partial

import numpy as np
import pytest
from refusals import refusal
from synthetic import a_system, leave_prepared, make_dataset, training_params

from benchmarks import jpeg_cost
from stages.measurement.accuracy import Comparison


@pytest.fixture
def folders(tmp_path):
    """The same pictures twice: as they are, and with the band that tells the class gone."""
    lossless, jpeg = make_dataset(), make_dataset()
    jpeg.images[:] = 100
    found = {"jpeg": tmp_path / "jpeg", "lossless": tmp_path / "lossless"}
    leave_prepared(found["jpeg"], jpeg)
    leave_prepared(found["lossless"], lossless)
    return found


def test_pictures_to_test_on_chose_no_epoch(folders):
    for dataset in jpeg_cost.open_pair(folders).values():
        chose, judged = (set(dataset.splits[name].tolist())
                         for name in ("validation", jpeg_cost.JUDGED))
        assert chose
        assert judged
        assert not chose & judged


def test_pictures_that_say_nothing_cost_accuracy(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jpeg_cost, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(jpeg_cost, "compute_deterministically", lambda: None)
    monkeypatch.setattr(jpeg_cost, "cifar10_params",
                        lambda size, **changes: training_params(seed=changes["seed"]))
    monkeypatch.setattr(jpeg_cost, "PICTURES", 60)
    monkeypatch.setattr(sys, "argv", ["jpeg_cost", "--seeds", "1", "--jpeg", str(folders["jpeg"]),
                                      "--lossless", str(folders["lossless"])])
    jpeg_cost.PAGE.parent.mkdir()
    jpeg_cost.PAGE.write_text("<!-- jpeg cost -->\n<!-- /jpeg cost -->\n")
    jpeg_cost.main()
    content = json.loads(jpeg_cost.RAW.read_text())
    [seed] = content["seeds"]
    images = content["tested_images"]
    own = {kind: seed[kind]["accuracy"][kind] for kind in ("jpeg", "lossless")}
    assert own["lossless"] > own["jpeg"] + 0.2
    assert seed["lost"] - seed["gained"] == round((own["lossless"] - own["jpeg"]) * images)
    assert content["train_images"] == 60
    assert content["grey_levels_off"] == pytest.approx(np.abs(
        make_dataset().view("validation")[1::2].astype(int) - 100).mean())
    assert jpeg_cost.told(content) in jpeg_cost.PAGE.read_text()
    assert not list(tmp_path.glob("models/*")), "the state of a training lies in the user's folder"


def test_the_cost_is_told_by_seed():
    seeds = [{"jpeg": {"train_accuracy": 0.8, "accuracy": {"jpeg": 0.7, "lossless": 0.6}},
              "lossless": {"train_accuracy": 0.9, "accuracy": {"jpeg": 0.5, "lossless": 0.75}},
              "lost": 8, "gained": 3},
             {"jpeg": {"train_accuracy": 0.82, "accuracy": {"jpeg": 0.72, "lossless": 0.6}},
              "lossless": {"train_accuracy": 0.9, "accuracy": {"jpeg": 0.5, "lossless": 0.75}},
              "lost": 4, "gained": 1}]
    text = jpeg_cost.told({"seeds": seeds, "grey_levels_off": 5.73, "train_images": 5000,
                           "image_size": 128, "epochs": 3, "tested_images": 100,
                           "system": a_system()})
    assert text.startswith("5,000 training pictures, 100 of validation to test on, 128 px")
    assert ("| JPEG | 81.0 % (80.0 to 82.0) | 71.0 % (70.0 to 72.0) | 60.0 % (60.0 to 60.0) |"
            in text)
    low, high = Comparison(100, lost=8, gained=3, flipped=0).drop_interval_pp()
    assert f"(paired 95 % interval): 5.0 ({low:.1f} to {high:.1f}); 3.0 (" in text
    assert "changes a pixel's value by 5.7 of 255" in text


@pytest.mark.parametrize("part", ["labels", "train", "validation", "images"])
def test_other_pictures_are_refused(part, tmp_path):
    first, second = make_dataset(), make_dataset()
    if part == "labels":
        second.labels[:2] = second.labels[1::-1].copy()
    elif part == "images":
        second.images = second.images[:, 1:, 1:]
    else:
        second.splits[part] = second.splits[part][1:]
    leave_prepared(tmp_path / "first", first)
    leave_prepared(tmp_path / "second", second)
    assert "hold other pictures, or other splits" in refusal(
        partial(jpeg_cost.open_pair, {"jpeg": tmp_path / "first", "lossless": tmp_path / "second"}))
