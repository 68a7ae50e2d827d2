"""Seconds by stage, with a dvc that says what the real one says."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from refusals import refusal
from synthetic import a_system

from benchmarks import stage_times

DVC = """#!/bin/sh
echo "Stage 'download' didn't change, skipping"
echo "Running stage 'export':"
echo "> python -m stages.export"
echo "Stage 'analyze' is cached - skipping run, checking out outputs"
{last}
exit {status}
"""
# Ways in which it ends: all is done, a stage fails, a stage fails before it is told to run.
RUNS = """echo "Running stage 'evaluate@onnx_fp32':"
"""
FAILS = """echo "ERROR: failed to reproduce '{}': why" >&2
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Where the times go; those of an earlier run of two stages are there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(sys, "argv", ["stage_times", "small"])
    clock = SimpleNamespace(perf_counter=iter([9.0, 10.0, 12.5, 17.5, 20.5]).__next__)
    monkeypatch.setattr(stage_times, "time", clock)
    path = Path("docs/results/small/stage_times.json")
    path.parent.mkdir(parents=True)
    Path("params.yaml").write_text("a: 1\n")
    path.write_text(json.dumps({"stages": {"train": 100.0, "export": 50.0},
                                "params_file_sha256": stage_times.params_file_sha256(),
                                "system": stage_times.describe_system()}))
    return path


def write_dvc(status=0, last=RUNS):
    Path("dvc").write_text(DVC.format(status=status, last=last))
    Path("dvc").chmod(0o755)


def test_what_was_run_is_timed_and_the_rest_keeps_its_time(path, capsys):
    write_dvc()
    stage_times.main()
    found = json.loads(path.read_text())
    assert found["stages"] == {"train": 100, "export": 2.5, "evaluate@onnx_fp32": 3}
    assert found["system"]["cpu"]
    assert "> python -m stages.export\n" in capsys.readouterr().out


@pytest.mark.parametrize("last", [RUNS + FAILS.format("evaluate@onnx_fp32"),
                                  FAILS.format("evaluate@onnx_fp32")])
def test_a_stage_that_fails_has_no_time_and_those_before_it_have(path, capsys, last):
    """Also where DVC misses a dependency, before it tells that the stage runs."""
    write_dvc(3, last)
    assert "exit status 3" in refusal(stage_times.main)
    assert json.loads(path.read_text())["stages"] == {"train": 100, "export": 2.5}
    assert "ERROR: failed to reproduce 'evaluate@onnx_fp32': why\n" in capsys.readouterr().out


@pytest.mark.parametrize("status", [0, 1])
def test_times_stay_where_no_stage_ran(path, monkeypatch, status):
    """Also those of other parameters, which a later run of theirs goes on from."""
    before = path.read_bytes()
    Path("params.yaml").write_text("a: 2\n")
    Path("dvc").write_text(f"#!/bin/sh\necho 'Data and pipelines are up to date.'\nexit {status}\n")
    Path("dvc").chmod(0o755)
    monkeypatch.setattr(stage_times, "time", time)
    if status:
        assert "exit status 1" in refusal(stage_times.main)
    else:
        stage_times.main()
    assert path.read_bytes() == before


@pytest.mark.parametrize("changed", [{"system": a_system()}, {"params_file_sha256": "1f2e"}])
def test_times_of_another_machine_or_run_are_not_kept(path, changed):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    write_dvc()
    stage_times.main()
    assert "train" not in json.loads(path.read_text())["stages"]


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_training_that_goes_on_has_no_time(path, goes_on):
    """That of what is left would stand for all of it. One of other parameters says nothing."""
    write_dvc()
    state = Path("models/unfinished_training_0123.pt")
    state.parent.mkdir()
    state.touch()
    script = Path("dvc").read_text().replace("'export'", "'train'")
    Path("dvc").write_text(script.replace("exit", f"rm {state}\nexit") if goes_on else script)
    stage_times.main()
    stages = json.loads(path.read_text())["stages"]
    assert set(stages) == {"export", "evaluate@onnx_fp32"} | (set() if goes_on else {"train"})
    assert goes_on or stages["train"] != 100
