"""The train stage as a process: killed at any moment, it goes on and ends the same."""

import signal
import subprocess
import sys
import time

import pytest
from working_copy import SMALL, compose, make_working_copy, run

CHECKPOINT = "models/checkpoint.pt"
STATE = "models/unfinished_training.pt"
DEADLINE = 120


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = make_working_copy(tmp_path_factory.mktemp("train") / "repository")
    compose(folder, *SMALL, "train.epochs=3")
    run(folder, "python", "-m", "stages.download")
    run(folder, "python", "-m", "stages.prepare")
    return folder


def train(folder):
    result = run(folder, "python", "-m", "stages.train")
    return result.stdout, (folder / CHECKPOINT).read_bytes()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on_and_ends_as_an_uninterrupted_one(prepared, how):
    _, expected = train(prepared)
    (prepared / CHECKPOINT).unlink()
    process = subprocess.Popen([sys.executable, "-m", "stages.train"], cwd=prepared,
                               stderr=subprocess.DEVNULL)
    until = time.monotonic() + DEADLINE
    while not (prepared / STATE).exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(how)
    process.wait(timeout=DEADLINE)
    assert not (prepared / CHECKPOINT).exists()
    output, resumed = train(prepared)
    assert "goes on after epoch" in output
    assert resumed == expected
    assert not (prepared / STATE).exists()
