"""What a picture costs: the arithmetic by hand, and the measurement on a program of one line."""

import shutil
import sys

import pytest
import yaml
from omegaconf import OmegaConf
from paths import ROOT
from refusals import refusal

from benchmarks import stage_cost
from stages.data.imagefolder import read_imagefolder
from stages.data.sources import pack_folder


def test_line_parts_what_is_fixed_from_what_grows():
    assert stage_cost.line([100, 300], [5.0, 9.0]) == pytest.approx((3.0, 0.02))


def test_line_is_never_below_zero():
    assert stage_cost.line([100, 300], [5.0, 4.0]) == (5.0, 0.0)
    assert stage_cost.line([100, 300], [1.0, 9.0])[0] == 0


def test_table_by_hand():
    runs = [{"prepare": {"seconds": 2.0, "peak_mb": 100.0, "disk_mb": 1.0}},
            {"prepare": {"seconds": 3.8, "peak_mb": 101.0, "disk_mb": 2.0}}]
    assert stage_cost.table([1000, 2000], runs).splitlines()[2:] == [
        "| prepare | 0.2 s | 1.800 ms | 0.50 h | 0.10 GB, 1.1 GB | 1.0 GB |",
        "| all, one epoch | | | 0.5 h | | |"]


def test_plan_stops_where_the_search_for_mixed_precision_stops_growing():
    stages = ("quantize int8_mixed", "quantize int8_static")
    runs = [{name: {"seconds": seconds, "peak_mb": 0.0, "disk_mb": 0.0} for name in stages}
            for seconds in (2.0, 38.0)]
    hours = [row.split(" | ")[3] for row in stage_cost.table([0, 1000], runs).splitlines()[2:4]]
    assert hours == ["0.63 h", "10.00 h"]


def test_every_stage_of_the_pipeline_is_run():
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    params = OmegaConf.load(ROOT / "params.yaml")
    run = stage_cost.commands(params)
    assert list(dict.fromkeys(command[0] for command in run)) == list(pipeline)
    assert [command[1] for command in run if command[0] == "evaluate"] == list(params.variants)


def test_pictures_are_a_folder_that_prepare_reads(tmp_path):
    stage_cost.make_pictures(tmp_path / "pictures", 2 * stage_cost.CLASSES, 32)
    pack_folder(tmp_path / "pictures", tmp_path / "archive")
    listing = read_imagefolder(tmp_path / "archive", 32)
    assert len(listing.classes) == stage_cost.CLASSES
    pictures = [picture for _, picture in listing.pictures]
    assert {picture.shape for picture in pictures} == {(32, 32, 3)}
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_parameters_that_can_not_be_are_refused_before_any_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(stage_cost, "make_pictures", lambda *_: pytest.fail("made"))
    monkeypatch.setattr(sys, "argv", ["stage_cost", "--image-size", "3000"])
    assert "got 3000" in refusal(stage_cost.main)


def test_a_repository_of_another_experiment_and_without_qat_is_measured_as_any(tmp_path,
                                                                              monkeypatch):
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    for name, old, new in (("config.yaml", "experiment: null", "experiment: cifar10"),
                           ("config.yaml", "  int8_qat: models/int8_qat.onnx\n", ""),
                           ("quantize/int8.yaml", "int8_qat:", "another:")):
        file = tmp_path / "conf" / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
    monkeypatch.setattr(stage_cost, "ROOT", tmp_path)
    params = stage_cost.composed(16, tmp_path / "params.yaml")
    assert (params.data.name, params.model.image_size) == ("pictures", 16)
    assert params.quantize.variants.another.qat.steps == stage_cost.QAT_STEPS


def test_every_stage_is_measured_with_the_disk_that_it_fills(tmp_path, monkeypatch):
    """The stages are made up: each writes a megabyte."""
    def run_measured(command, folder, pictures):
        assert len(list(pictures.rglob("*.jpg"))) == 20
        path = folder / "data" / ("images.npy" if command == ["prepare"] else "_".join(command))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(10**6))
        return {"seconds": 1.0, "peak_mb": 2.0}

    monkeypatch.setattr(stage_cost, "run_measured", run_measured)
    params = stage_cost.composed(16, tmp_path / "params.yaml")
    results = stage_cost.measure(20, params, tmp_path / "params.yaml")
    *stages, last = results
    assert stages == [" ".join(command) for command in stage_cost.commands(params)]
    assert all(results[stage] == {"seconds": 1.0, "peak_mb": 2.0, "disk_mb": 1.0}
               for stage in stages)
    assert last == stage_cost.HASH
    assert results[last]["seconds"] > 0


@pytest.mark.parametrize(("program", "reason"), [
    ("import sys; sys.exit('params.yaml: no such file')", "params.yaml: no such file"),
    ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL")])
def test_stage_that_fails_is_told_in_one_line(tmp_path, monkeypatch, program, reason):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "quantize.py").write_text(program)
    monkeypatch.setattr(stage_cost, "ROOT", tmp_path)
    command = ["quantize", "int8_static"]
    assert refusal(stage_cost.run_measured, command, tmp_path, tmp_path) == \
        f"stages.quantize int8_static: {reason}"


HOLD = """
import sys, time
from pathlib import Path
kept = b"x" * int(sys.argv[1])
Path("ready").touch()
for _ in range(6000):
    if Path("seen").exists():
        break
    time.sleep(0.01)
"""


def test_memory_of_a_process_is_seen(tmp_path, monkeypatch):
    """The process holds its memory until it was looked at once."""
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "hold.py").write_text(HOLD)
    monkeypatch.setattr(stage_cost, "ROOT", tmp_path)

    def peak_mb(size):
        folder, looks = tmp_path / str(size), []
        folder.mkdir()

        def look(seconds):
            looks.append((folder / "ready").exists())
            if looks[-2:] == [True, True]:
                (folder / "seen").touch()
            pause(seconds)

        monkeypatch.setattr(stage_cost.time, "sleep", look)
        return stage_cost.run_measured(["hold", str(size)], folder, tmp_path)["peak_mb"]

    pause = stage_cost.time.sleep
    assert peak_mb(60 * 10**6) - peak_mb(10**6) == pytest.approx(59, abs=5)
