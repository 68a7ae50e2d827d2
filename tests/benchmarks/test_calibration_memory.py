"""Memory of calibration: rows are kept as they are measured, and growth is told."""

import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
from import_closure import ROOT
from refusals import refusal

from benchmarks import calibration_memory
from stages.config.errors import UserError

OUT = Path("memory.csv")
PEAKS = {("minmax", 64): 100.04, ("minmax", 512): 105.0, ("entropy", 64): 200.0,
         ("entropy", 512): 230.0}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """run(peaks, method, ...): the program with peaks by hand; what has none is killed."""
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    calibration_memory.MODEL.parent.mkdir()
    calibration_memory.MODEL.write_bytes(b"model")

    def run_program(peaks, *methods):
        def measure_apart(method, number, images):
            if (method, number) not in peaks:
                raise UserError("killed by SIGKILL")
            return peaks[method, number]

        monkeypatch.setattr(calibration_memory, "measure_apart", measure_apart)
        monkeypatch.setattr(sys, "argv", ["calibration_memory", "--counts", "64", "512",
                                          "--methods", *methods, "--out", str(OUT)])
        calibration_memory.main()
    return run_program


def test_rows_are_there_though_a_later_one_was_killed(run):
    peaks = {key: peak for key, peak in PEAKS.items() if key != ("entropy", 512)}
    assert refusal(run, peaks, "minmax", "entropy") == "killed by SIGKILL"
    assert pd.read_csv(OUT).to_numpy().tolist() == [
        ["minmax", 64, 100.0], ["minmax", 512, 105.0], ["entropy", 64, 200.0]]


def test_growth_is_told_and_too_much_of_it_is_a_failure(run, capsys):
    run(PEAKS, "minmax")
    assert capsys.readouterr().out.splitlines()[-1].split() == ["minmax", "100.040", "105.000",
                                                                "0.050"]
    with pytest.raises(SystemExit, match="memory grows by 10% or more"):
        run(PEAKS, "minmax", "entropy")
    assert len(pd.read_csv(OUT)) == 4


def test_a_child_that_fails_is_told(tmp_path, monkeypatch):
    """There is no model in this folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    message = refusal(calibration_memory.measure_apart, "mse", 64, tmp_path / "images.npy")
    assert message.startswith("benchmarks.calibration_memory --child mse --counts 64 ")
    assert message.endswith("images.npy: No such file or directory")
