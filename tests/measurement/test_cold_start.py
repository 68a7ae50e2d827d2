import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from paths import ROOT
from refusals import refusal
from tiny_model import SIDE, write_body

from stages.measurement import cold_start as module
from stages.measurement.cold_start import cold_start, peak_memory_bytes


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "picture.npy", np.zeros((1, 3, SIDE, SIDE), np.float32))
    return write_body(tmp_path, "float"), tmp_path / "picture.npy"


def test_costs_of_an_onnx_model(files, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(module, "STARTS", 1)
    costs = cold_start(*files)
    assert set(costs) == {"load_ms", "first_run_ms", "peak_memory_mb", "starts"}
    assert 10 < costs["peak_memory_mb"] < 1000
    assert costs["load_ms"] > 0
    assert costs["first_run_ms"] > 0


def test_loading_and_the_first_run_are_told_apart(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def takes(seconds, result=None):
        now[0] += seconds
        return result

    monkeypatch.setattr(module, "open_session", lambda path: takes(2))
    monkeypatch.setattr(module, "predictor_of", lambda session: lambda picture: takes(5))
    costs = module.start(Path("model.onnx"), np.zeros((1, 3, SIDE, SIDE), np.float32))
    assert (costs["load_ms"], costs["first_run_ms"]) == (2000, 5000)


@pytest.fixture
def start_of(monkeypatch):
    """start_of(seconds): starts that take so long each, on a clock that they alone move."""
    now, told = [0.0], iter([{"load_ms": 9.0}, {"load_ms": 1.0}, {"load_ms": 2.0}])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def make(seconds):
        def run(command, **options):
            now[0] += seconds
            return subprocess.CompletedProcess(command, 0, "a line of a library\n"
                                               + json.dumps(next(told)))
        monkeypatch.setattr(subprocess, "run", run)
    return make


@pytest.mark.parametrize(("seconds", "expected"), [
    (0.5, {"load_ms": 2, "starts": 3}), (2, {"load_ms": 5, "starts": 2}),
    (60, {"load_ms": 9, "starts": 1})], ids=["quick", "slow", "very slow"])
def test_median_of_several_starts_and_of_fewer_slow_ones(start_of, seconds, expected):
    start_of(seconds)
    assert cold_start("model", "picture") == expected


def test_a_process_that_ends_without_an_answer_is_told_of(files, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(ROOT)
    told = refusal(cold_start, tmp_path / "absent.onnx", files[1])
    assert capfd.readouterr().err == f"ERROR {tmp_path / 'absent.onnx'}: no such file; run 'dvc " \
        "repro'\n"
    assert told.startswith(f"{tmp_path / 'absent.onnx'}: a process that loads it")
    assert "status 1" in told


def test_an_onnx_model_is_run_without_pytorch(files):
    code = ("import sys, numpy; from pathlib import Path; from stages.measurement.cold_start "
            f"import start; start(Path({str(files[0])!r}), numpy.load({str(files[1])!r}))"
            "; print(sorted({'torch', 'timm', 'onnx', 'pandas'} & set(sys.modules)))")
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                            check=True)
    assert result.stdout.strip() == "[]"


def test_peak_of_this_process_by_the_kernel(tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n")
    assert peak_memory_bytes(status) == 2 * 2**20


@pytest.mark.skipif(sys.platform == "win32", reason="no module resource")
def test_peak_of_this_process_elsewhere(tmp_path):
    assert 10e6 < peak_memory_bytes(tmp_path / "absent") < 100e9


def test_peak_of_a_process_has_what_it_gave_back():
    code = """
from stages.measurement.cold_start import peak_memory_bytes
before = peak_memory_bytes()
bytearray(200_000_000)
print(peak_memory_bytes() - before)
"""
    grown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True,
                           text=True).stdout
    assert 100e6 < int(grown) < 300e6
