"""Long training runs: what is read of one, and how it is told."""

import json
import sys
from functools import partial

import pytest
from refusals import refusal
from synthetic import a_system

from benchmarks import training_runs
from benchmarks.training_runs import curves, following, record_of, told
from stages.train import HISTORY_DIR, TIMING_FILE, write_history
from stages.training.loop import History


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of two epochs, a minute and half a minute, as the train stage leaves it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training_runs, "describe_system", a_system)
    history = History(best_epoch=1, epochs=[
        {"train.loss": 1.0, "train.accuracy": 0.5, "val.loss": 1.0, "val.accuracy": 0.75,
         "image_size": 64},
        {"train.loss": 1.0, "train.accuracy": 0.625, "val.loss": 1.0, "val.accuracy": 0.7,
         "image_size": 96}])
    write_history(history, 10)
    TIMING_FILE.write_text(json.dumps({"epoch_seconds": [60.0, 30.0], "device": "cpu"}))
    return tmp_path


def test_a_run_is_read_by_epoch(run):
    assert record_of(run) == {
        "cpu": "A CPU (avx2, fma)", "image_size": [64, 96], "minutes": [1.0, 1.5],
        "train_accuracy": [0.5, 0.625], "val_accuracy": [0.75, 0.7]}


def test_a_run_of_another_device_is_told_from_those_of_the_cpu(run):
    TIMING_FILE.write_text(json.dumps({"epoch_seconds": [60.0, 30.0], "device": "cuda"}))
    assert record_of(run)["cpu"] == "cuda, A CPU (avx2, fma)"


def test_a_run_can_not_follow_itself(run, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["training_runs", "short", "--after", "short"])
    assert "'short' can't follow itself" in refusal(training_runs.main)
    assert not training_runs.RAW.exists()


def test_a_row_tells_the_last_epoch_and_the_best(run):
    assert told({"short": record_of(run)}).splitlines()[2:] == [
        "| short | A CPU (avx2, fma) | 2 | 2 | 62.5 % | 75.00 % (1) |"]


def test_a_run_that_went_on_from_another_has_the_time_of_both(run):
    record = record_of(run)
    runs = {"short": record, "longer": following(record, "short", {"short": record})}
    assert runs["longer"]["minutes"] == [2.5, 3.0]
    assert told(runs).splitlines()[3] == (
        "| longer | A CPU (avx2, fma) | 2 after 2 | 3 | 62.5 % | 75.00 % (1) |")
    assert "no run is called 'absent'; those there are: short" in refusal(
        following, record, "absent", {"short": record})


def test_every_run_has_a_curve_in_the_panel_of_its_pictures(run):
    record = record_of(run)
    runs = {"one": record, "two": {**record, "val_accuracy": [0.8, 0.9]},
            "two, as published": {**record, "val_accuracy": [0.85, 0.95]}}
    drawn = {axes.get_title(): [line.get_ydata().tolist() for line in axes.lines
                                if len(line.get_ydata())] for axes in curves(runs).axes}
    assert drawn == {"CIFAR-10 as JPEG files": [[75.0, 70.0], [80.0, 90.0]],
                     "CIFAR-10 as published": [[85.0, 95.0]]}


@pytest.mark.parametrize("missing", [TIMING_FILE, HISTORY_DIR / "plots/metrics/val/accuracy.tsv"])
def test_a_run_that_has_not_ended_is_refused_by_the_missing_file(run, missing):
    (run / missing).unlink()
    assert refusal(partial(record_of, run)).startswith(f"{run / missing}: no such file")
