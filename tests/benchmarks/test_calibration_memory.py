"""Memory of calibration: rows are kept as they are measured, and growth is told."""

import json
import shutil
import sys

import onnx
import pytest
from inverted_residual import SIDE, network
from paths import ROOT
from refusals import refusal
from synthetic import make_dataset, model_params

from benchmarks import calibration_memory
from stages.config.errors import UserError
from stages.quantization import static

NOTHING = calibration_memory.NOTHING
PEAKS = {(NOTHING, 0): 90.0} | {(method, number): 100.04 + number / 100
                                for method in (*calibration_memory.METHODS,
                                               *calibration_memory.THEIRS)
                                for number in (64, 512)}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """run(peaks): the program with peaks by hand, a process without one is killed; raw data, page.
    """
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    calibration_memory.FLOAT_FILE.parent.mkdir()
    calibration_memory.FLOAT_FILE.write_bytes(b"model")
    calibration_memory.PAGE.parent.mkdir()
    calibration_memory.PAGE.write_text("<!-- memory -->\n<!-- /memory -->\n")

    def run_program(peaks):
        def measure_apart(method, number, images):
            if (method, number) not in peaks:
                raise UserError("killed by SIGKILL")
            return peaks[method, number]

        monkeypatch.setattr(calibration_memory, "measure_apart", measure_apart)
        monkeypatch.setattr(sys, "argv", ["calibration_memory", "--counts", "512", "64"])
        calibration_memory.main()
    return run_program


def raw_peaks():
    return json.loads(calibration_memory.RAW.read_text())["peak_memory_mb"]


def test_rows_are_there_though_a_later_one_was_killed(run):
    assert refusal(run, {key: PEAKS[key] for key in list(PEAKS)[:4]}) == "killed by SIGKILL"
    assert raw_peaks() == {NOTHING: {"0": 90.0}, "minmax": {"64": 100.7, "512": 105.2},
                           "percentile": {"64": 100.7}}


def test_growth_is_told_and_too_much_of_it_is_a_failure(run):
    run(PEAKS)
    page = calibration_memory.PAGE.read_text()
    assert "| method | 64 pictures | 512 pictures | growth |" in page
    assert f"| {NOTHING} | 90 MB | 90 MB | |" in page
    assert "| minmax | 101 MB | 105 MB | 4.5 % |" in page
    assert set(raw_peaks()) == {NOTHING, *calibration_memory.METHODS, *calibration_memory.THEIRS}
    run({**PEAKS, ("onnxruntime-entropy", 512): 900.0})
    with pytest.raises(SystemExit, match="memory grows by 10% or more"):
        run({**PEAKS, ("entropy", 512): 120.0})


@pytest.mark.parametrize(("method", "passes"), [
    (NOTHING, 0), ("minmax", 1), ("entropy", 1), ("logits", 2), ("onnxruntime-entropy", 1)])
def test_memory_is_read_once_the_pictures_have_been_gone_through(method, passes, tmp_path,
                                                                 monkeypatch):
    monkeypatch.setattr(calibration_memory, "FLOAT_FILE", tmp_path / "model.onnx")
    onnx.save(network("Clip"), calibration_memory.FLOAT_FILE)
    pictures = make_dataset(256).view("calibration")  # whole batches, as ONNX Runtime's own needs
    seen, feeds_of = [], static.feeds_of

    def feeds(*arguments):
        for feed in feeds_of(*arguments):
            seen.append(len(feed["input"]))
            yield feed

    def peak():
        seen.append("peak")
        return 5e6

    monkeypatch.setattr(static, "feeds_of", feeds)
    monkeypatch.setattr(calibration_memory, "feeds_of", feeds)
    monkeypatch.setattr(calibration_memory, "peak_memory_bytes", peak)
    assert calibration_memory.measure(method, pictures, model_params(image_size=SIDE)) == 5
    assert seen.pop() == "peak"
    assert sum(seen) == passes * len(pictures) <= passes * static.NARROWED_ON


def test_one_number_of_pictures_grows_by_nothing():
    assert calibration_memory.growth({"64": 100.0}) == 0
    assert calibration_memory.growth({"64": 100, "512": 103, "4096": 105}) == pytest.approx(0.05)


def test_a_child_that_fails_is_told(tmp_path, monkeypatch):
    """There are no pictures in this folder."""
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    message = refusal(calibration_memory.measure_apart, "mse", 64, tmp_path / "images.npy")
    assert message.startswith("benchmarks.calibration_memory --child mse 64 ")
    assert message.endswith("images.npy: No such file or directory")
