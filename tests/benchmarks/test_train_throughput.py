"""The table of training speeds; the loops themselves take minutes."""

import pytest

from benchmarks import train_throughput
from benchmarks.train_throughput import FUNCTIONS, LOOPS, table, told


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
    text = told({"A CPU": {
        "dataset": "bands", "steps": 10, "loops": [result("slow", 224, 1.0, 2.0)],
        "system": {"packages": {"torch": "9.9"}, "cpu": {
            "model": "A CPU", "flags": ["avx", "avx2", "fma"], "architecture": "x86_64",
            "threads_used": 3}}}})
    assert text.startswith("bands, tf_efficientnet_lite0, 10 steps a run, 2 rounds; "
                           "A CPU (avx2, fma), 3 threads; torch 9.9.\n\n| loop |")


@pytest.mark.parametrize("size", {size for _, size, _ in LOOPS})
def test_each_size_starts_with_a_loop_that_is_not_ours(size):
    assert "train stage" not in next(name for name, each, _ in LOOPS if each == size)


def test_the_frozen_loop_freezes_what_the_experiment_does():
    frozen = FUNCTIONS["train stage, frozen"].keywords["frozen"]
    text = train_throughput.RECIPE.read_text()
    assert frozen
    assert all(name in text for name in frozen)
    assert {name for name, *_ in LOOPS} == set(FUNCTIONS)
