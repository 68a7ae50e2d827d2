"""Two processes over gloo train as one process does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from paths import ROOT

PROGRAM = Path(__file__).with_name("two_processes.py")
# Sums of gradients are rounded in another order.
TOLERANCE = 1e-5


def run(folder, *launcher, how=()):
    """Run the program in `folder`, told `how`."""
    folder.mkdir(exist_ok=True)
    subprocess.run([sys.executable, *launcher, str(PROGRAM), str(folder), *how], check=True,
                   timeout=300, cwd=ROOT, capture_output=True,
                   env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"})


def trained(folder, *launcher, how=()):
    """Run the program in `folder`: the weights it ends with and its history."""
    run(folder, *launcher, how=how)
    return (torch.load(folder / "model.pt", weights_only=True),
            json.loads((folder / "history.json").read_text()))


# What `torchrun` and `accelerate launch` are, with the options that docs/training.md names.
LAUNCHERS = {"torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
             "accelerate": ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
                            "--num_machines", "1", "--mixed_precision", "no",
                            "--dynamo_backend", "no", "--main_process_port", "0"]}


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("distributed") / "one")


@pytest.fixture(scope="module", params=LAUNCHERS)
def runs(request, one_process, tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed") / request.param
    return one_process, trained(folder, "-m", *LAUNCHERS[request.param])


def assert_close(weights, expected):
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=0, atol=TOLERANCE)


def test_weights_are_those_of_one_process(runs):
    (one, history), (two, shared) = runs
    assert (history["processes"], shared["processes"]) == (1, 2)
    assert_close(two, one)


def test_batch_norm_that_is_frozen_leaves_the_weights_those_of_one_process(tmp_path):
    one, two = (trained(tmp_path / name, *launcher, how=["frozen"])[0] for name, launcher in (
        ("one", ()), ("two", ("-m", *LAUNCHERS["torchrun"]))))
    assert "1.running_mean" in one
    assert_close(two, one)


@pytest.mark.slow
def test_with_batch_norm_what_is_validated_is_what_is_left(tmp_path):
    """Each process has statistics of its own; the main one's are validated by all, and kept."""
    _, history = trained(tmp_path / "two", "-m", *LAUNCHERS["torchrun"], how=["norm"])
    best = history["epochs"][history["best_epoch"] - 1]
    assert history["loss_of_what_is_left"] == pytest.approx(best["val.loss"], abs=TOLERANCE)


def test_a_stopped_run_goes_on_with_a_disk_for_each_process(one_process, tmp_path):
    """The state lies in the main process's folder alone."""
    run(tmp_path, how=["stop"])
    assert not (tmp_path / "model.pt").exists()
    weights, history = trained(tmp_path, "-m", *LAUNCHERS["torchrun"])
    assert history["processes"] == 2
    assert len(history["epochs"]) == 2
    assert_close(weights, one_process[0])


def test_loss_that_is_nan_in_one_process_leaves_the_last_good_epoch(tmp_path):
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(tmp_path, "-m", *LAUNCHERS["torchrun"], how=["diverge"])
    told = failed.value.stderr.decode()
    assert "loss is nan at step 1 of epoch 2" in told
    assert "model.weights=models/last_good.pt goes on from the best epoch before" in told
    state = torch.load(tmp_path / "0" / "models" / "last_good.pt", weights_only=True)["state_dict"]
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_metrics_count_every_picture_once(runs):
    """The validation split is odd, so that two processes can't share it evenly."""
    (_, history), (_, shared) = runs
    assert shared["images"] == history["images"]
    for one, two in zip(history["epochs"], shared["epochs"], strict=True):
        assert two == pytest.approx(one, abs=TOLERANCE)
