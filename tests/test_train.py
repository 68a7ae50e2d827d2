"""The train stage as a process: killed at any moment, it goes on and ends the same."""

import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from refusals import refusal
from synthetic import model_params, random_model, training_params
from working_copy import SMALL, make_working_copy, run, write_params

from stages import report, train
from stages.config.errors import UserError
from stages.files.reading import read_csv
from stages.training import process
from stages.training.loop import History

CHECKPOINT = "models/checkpoint.pt"
STATES = "models/unfinished_training_*.pt"

# Ctrl-C has to act also when the tests themselves run where it is ignored. The signal comes from
# the process itself: from outside it might come after the last epoch, on a busy machine.
STOPPED_AFTER_AN_EPOCH = """
import os, runpy, signal, sys
from stages.training import loop

save_state = loop.save_state
how = int(sys.argv.pop())

def save_and_stop(*state):
    save_state(*state)
    os.kill(os.getpid(), how)

signal.signal(signal.SIGINT, signal.default_int_handler)
loop.save_state = save_and_stop
runpy.run_module("stages.train", run_name="__main__", alter_sys=True)
"""


def test_report_reads_the_history_that_train_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"train.loss": 3.0 - at, "train.accuracy": 0.5 + at / 10, "val.loss": 2.0 - at / 2,
             "val.accuracy": accuracy, "image_size": 32}
            for at, accuracy in enumerate((0.6, 0.8, 0.7))]
    train.write_history(History(epochs=rows, best_epoch=2, stopped_early=True), parameters=123)
    history = report.read_history()
    assert history.index.tolist() == [1, 2, 3]
    for name in history.columns:
        assert history[name].tolist() == pytest.approx([row[name] for row in rows])
    told = json.loads((report.HISTORY / "metrics.json").read_text())
    assert told["best"] == {"epoch": 2, "val_loss": 1.5, "val_accuracy": 0.8}
    assert (told["epochs"], told["stopped_early"], told["parameters"]) == (3, True, 123)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A repository with prepared data, and the checkpoint of a run that was not interrupted."""
    folder = make_working_copy(tmp_path_factory.mktemp("train") / "repository")
    write_params(folder, *SMALL)
    run(folder, "python", "-m", "stages.download")
    run(folder, "python", "-m", "stages.prepare")
    run(folder, "python", "-m", "stages.train")
    return folder, (folder / CHECKPOINT).read_bytes()


@pytest.fixture
def train_here(prepared, monkeypatch):
    """train_here(params): how the stage refuses, in this process, whose settings it leaves."""
    monkeypatch.chdir(prepared[0])
    for name in ("keep_freed_memory", "compute_deterministically"):
        monkeypatch.setattr(train, name, lambda: None)

    def refused(params):
        monkeypatch.setattr(train, "load_params", lambda *keys: params)
        return refusal(train.main)
    return refused


def start_and_stop(folder, how):
    """Start training anew and send it the signal `how` after its first epoch."""
    (folder / CHECKPOINT).unlink(missing_ok=True)
    process = subprocess.run([sys.executable, "-c", STOPPED_AFTER_AN_EPOCH, str(int(how))],
                             cwd=folder, stderr=subprocess.DEVNULL, timeout=120)
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    assert list(folder.glob(STATES))
    assert not (folder / CHECKPOINT).exists()


def test_a_killed_run_goes_on_and_ends_as_an_uninterrupted_one(prepared):
    folder, expected = prepared
    start_and_stop(folder, signal.SIGKILL)
    resumed = run(folder, "python", "-m", "stages.train")
    assert "goes on after epoch 1 of 2" in resumed.stdout
    assert (folder / CHECKPOINT).read_bytes() == expected
    assert not list(folder.glob(STATES))


def test_a_stopped_run_does_not_go_on_with_other_code(prepared):
    folder, expected = prepared
    start_and_stop(folder, signal.SIGINT)
    code = folder / "stages/training/augment.py"
    before = code.read_text(encoding="utf-8")
    code.write_text(before + "# a change\n", encoding="utf-8")
    try:
        resumed = run(folder, "python", "-m", "stages.train")
    finally:
        code.write_text(before, encoding="utf-8")
    assert "is of other parameters, data or code" in resumed.stdout
    assert "goes on after epoch" not in resumed.stdout
    assert (folder / CHECKPOINT).read_bytes() == expected
    again = run(folder, "python", "-m", "stages.train")  # with its own code it has lost nothing
    assert "goes on after epoch 1 of 2" in again.stdout
    assert (folder / CHECKPOINT).read_bytes() == expected
    assert not list(folder.glob(STATES))


@pytest.mark.parametrize(("setting", "told"), [
    ({"lr": 0.0}, "train.lr: got 0"),
    ({"frozen": ["conv_stem", "classifier"]}, "train.frozen: holds classifier")])
def test_a_classifier_of_other_classes_can_not_stay_as_it_is(train_here, setting, told):
    torch.save(random_model(model_params(), classes=7).state_dict(), "own.pt")
    params = training_params(**setting)
    params.model.weights = "own.pt"
    assert train_here(params).startswith(
        f"{told}, but the classifier in model.weights is not one of the 10 classes")


@pytest.mark.parametrize(("share", "threads"), [(1, 1), (64, 3)])
def test_training_keeps_to_a_container_s_share(train_here, monkeypatch, share, threads):
    """And to what OMP_NUM_THREADS or a launcher has set."""
    set_to = [3]
    monkeypatch.setattr(process, "thread_count", lambda: share)
    monkeypatch.setattr(torch, "get_num_threads", lambda: set_to[-1])
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    assert train_here(training_params(crop_padding=64)).startswith("train.crop_padding")
    assert set_to[-1] == threads


@pytest.mark.parametrize("changed", ["lr", "data/splits.json", "data/images.npy", "own.pt"])
def test_what_a_run_is_named_by(train_here, monkeypatch, tmp_path, changed):
    """By the parameters, the data and the weights' file: what is changed names another run."""
    names = []

    def train_nothing(model, dataset, params, run):
        names.append(run)
        raise UserError("no further")

    shutil.copytree("data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    torch.save(random_model(model_params(), classes=10).state_dict(), "own.pt")
    params = training_params()
    params.model.weights = "own.pt"
    monkeypatch.setattr(train, "train", train_nothing)
    for change in (False, False, True):
        if change and changed == "lr":
            params.train.lr *= 2
        elif change and changed == "own.pt":
            torch.save(random_model(model_params(), classes=10, seed=1).state_dict(), "own.pt")
        elif change and changed == "data/images.npy":
            content = bytearray(Path(changed).read_bytes())
            content[-1] ^= 1
            Path(changed).write_bytes(content)
        elif change:
            Path(changed).write_text(Path(changed).read_text() + "\n")
        assert train_here(params) == "no further"
    assert names[0] == names[1] != names[2]


def test_a_network_that_no_onnx_file_holds_is_refused_before_it_is_trained(train_here, monkeypatch):
    monkeypatch.setattr(train, "MAX_PARAMETERS", 1000)
    assert "parameters, more than the 1,000 that one ONNX file holds" in train_here(
        training_params())


def test_every_size_that_training_comes_to_is_tried_before(train_here, monkeypatch):
    seen = []

    def check_sizes(model, params, classes, *sizes):
        seen.extend(sizes)
        raise UserError("no further")

    params = training_params(start_image_size=64, epochs=4)
    params.model.image_size = 160
    monkeypatch.setattr(train, "check_sizes", check_sizes)
    assert train_here(params) == "no further"
    assert seen == [64, 128, 160]


def test_the_launcher_starts_two_processes_that_leave_the_files_of_one_run(prepared):
    folder, expected = prepared
    write_params(folder, *SMALL, "train.launcher=torchrun --standalone --nproc-per-node 2")
    try:
        told = run(folder, "dvc", "repro", "--single-item", "train")
    finally:
        write_params(folder, *SMALL)
    assert told.stdout.count("best epoch") == 1
    timing = json.loads((folder / train.TIMING_FILE).read_text())
    assert (timing["processes"], len(timing["epoch_seconds"])) == (2, 2)
    assert len(read_csv(folder / train.HISTORY_DIR / "plots/metrics/val/accuracy.tsv")) == 2
    checkpoint = torch.load(folder / CHECKPOINT, weights_only=True)
    one = torch.load(io.BytesIO(expected), weights_only=True)
    assert checkpoint["state_dict"].keys() == one["state_dict"].keys()
    assert not list(folder.glob(STATES))


def test_transformer_can_not_train_at_sizes_that_grow(monkeypatch):
    params = training_params(start_image_size=16)
    params.model = model_params("test_vit", 32)
    monkeypatch.setattr(train, "load_params", lambda *keys: params)
    assert refusal(train.main) == (
        "train.start_image_size: got 16, but test_vit takes pictures of model.image_size alone, 32")
