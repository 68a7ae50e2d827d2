"""The table of training speeds, and the loops on next to nothing."""

import subprocess
import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
from refusals import refusal
from synthetic import TINY, a_system, make_dataset

from benchmarks import train_throughput
from benchmarks.presets import cifar10_params, preset_params
from benchmarks.train_throughput import FUNCTIONS, LOOPS, measure_all, table, told
from stages.training.loop import History


def result(loop, size, *speeds):
    return {"loop": loop, "image_size": size, "batch_size": 8, "images_per_second": list(speeds)}


def test_ratio_is_taken_round_by_round_to_the_first_loop_of_the_size():
    """Rounds on a machine that slows down by half: the ratio is the same in each."""
    lines = table([result("slow", 224, 10, 5, 10), result("fast", 224, 40, 20, 40),
                   result("other", 128, 50, 50, 50)]).splitlines()
    assert lines[2].endswith("| 10.0 (5.0 to 10.0) | 1.00× (1.00 to 1.00) |")
    assert lines[3] == "| fast | 224 | 8 | 40.0 (20.0 to 40.0) | 4.00× (4.00 to 4.00) |"
    assert lines[4].endswith("1.00× (1.00 to 1.00) |")


def test_a_run_says_what_it_was_measured_on():
    text = told({
        "dataset": "bands", "steps": 10, "loops": [result("slow", 224, 1.0, 2.0)],
        "system": a_system(threads_used=3)})
    assert text.startswith("bands, efficientnet_lite0, 10 steps a run, 2 rounds; "
                           "A CPU (avx2, fma), 3 threads; torch 9.9.\n\n| loop |")


def test_every_loop_runs_once_a_round_in_a_process_of_its_own(monkeypatch):
    run = []

    def printed(command, **options):
        run.append((command[command.index("--loop") + 1], *map(int, command[-3::2])))
        return subprocess.CompletedProcess(command, 0, f"told by a library\n{len(run)}.5\n", "")

    monkeypatch.setattr(subprocess, "run", printed)
    results = measure_all(2)
    assert sorted(run[:len(LOOPS)]) == sorted(run[len(LOOPS):]) == sorted(LOOPS)
    assert all(len(each["images_per_second"]) == 2 for each in results)


def test_a_loop_that_is_killed_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda command, **options:
                        subprocess.CompletedProcess(command, -9, "", "epoch 1\n"))
    message = refusal(measure_all, 1)
    assert message.startswith("benchmarks.train_throughput --loop ")
    assert message.endswith(": killed by SIGKILL")


@pytest.mark.parametrize("loop", FUNCTIONS)
def test_every_loop_trains(loop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_throughput, "STEPS", 1)
    tiny = {"name": TINY, "weights": "none"}

    def params(size, **changes):
        result = cifar10_params(size, **changes)
        result.model.update(tiny)
        return result

    monkeypatch.setattr(train_throughput, "preset_params", partial(preset_params, **tiny))
    monkeypatch.setattr(train_throughput, "cifar10_params", params)
    monkeypatch.setattr(train_throughput, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(train_throughput, "compute_deterministically", lambda: None)
    dataset = make_dataset()
    larger = dataset.images.repeat(3, axis=1).repeat(3, axis=2)  # than the recipe's cutout
    assert FUNCTIONS[loop](replace(dataset, images=larger), 32, 4) > 0


@pytest.mark.parametrize("size", {size for _, size, _ in LOOPS})
def test_each_size_starts_with_a_loop_that_is_not_ours(size):
    assert "train stage" not in next(name for name, each, _ in LOOPS if each == size)


def test_the_frozen_loop_freezes_what_the_experiment_does(monkeypatch):
    seen = {}

    def train(model, dataset, params, run):
        seen[name] = params.train.frozen
        return History(images=[0, 80], step_seconds=[1.0, 2.0])

    monkeypatch.setattr(train_throughput, "train", train)
    monkeypatch.setattr(train_throughput, "build_model", lambda *_: None)
    monkeypatch.setattr(train_throughput, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(train_throughput, "compute_deterministically", lambda: None)
    for name in ("train stage", "train stage, frozen"):
        dataset = SimpleNamespace(splits={"train": range(9), "validation": range(3)},
                                  classes=["a", "b"])
        assert FUNCTIONS[name](dataset, 32, 4) == 40
    frozen = cifar10_params(32).train.frozen
    assert frozen
    assert seen == {"train stage": [], "train stage, frozen": frozen}
    assert {name for name, *_ in LOOPS} == set(FUNCTIONS)


def test_too_few_pictures_are_refused_before_any_loop(monkeypatch):
    monkeypatch.setattr(train_throughput, "load_dataset", make_dataset)
    monkeypatch.setattr(train_throughput, "measure_all", lambda rounds: pytest.fail("measured"))
    monkeypatch.setattr(sys, "argv", ["train_throughput"])
    assert refusal(train_throughput.main).startswith(
        "data/splits.json: has 75 training pictures of 12 pixels, the loops take 640 of 16 or more"
        "; run")


def test_pictures_smaller_than_the_cutout_are_refused(monkeypatch):
    monkeypatch.setattr(train_throughput, "LOOPS", (("newcomer", 32, 4),))
    told = refusal(train_throughput.require_what_loops_take, make_dataset())
    assert "75 training pictures of 12 pixels, the loops take 40 of 16 or more" in told


def test_a_machine_with_a_gpu_is_refused(monkeypatch):
    """The loops to compare with stay on the CPU, and the train stage would not."""
    monkeypatch.setattr(train_throughput.torch.accelerator, "is_available", lambda: True)
    assert "hide it" in refusal(train_throughput.require_what_loops_take, make_dataset())
