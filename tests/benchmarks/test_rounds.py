import numpy as np
import pytest

from benchmarks.rounds import WARMUP, milliseconds, model_milliseconds, ratio, ratio_cell


def test_each_is_run_untimed_before_it_is_timed_and_a_few_times_to_warm_up():
    seen = {"one": [], "other": []}
    times = milliseconds({name: rounds.append for name, rounds in seen.items()}, 3)
    assert list(times) == ["one", "other"]
    assert all(len(series) == 3 and min(series) >= 0 for series in times.values())
    assert seen["one"] == seen["other"] == [*range(WARMUP), 0, 0, 1, 1, 2, 2]


def test_a_model_goes_through_the_inputs_batch_by_batch():
    inputs, seen = np.arange(7), []
    times = model_milliseconds({"model": lambda batch: seen.append(batch.tolist())}, inputs, 2, 4)
    assert len(times["model"]) == 4
    assert seen[WARMUP::2] == [[0, 1], [2, 3], [4, 5], [0, 1]]


def test_ratio_is_taken_round_by_round():
    """A slow machine in one round, which slows both, leaves the ratio as it is."""
    assert ratio([4.0, 40.0], [2.0, 20.0]) == (2.0, 2.0, 2.0)
    median, low, high = ratio([2.0] * 11, [1 / (1 + i) for i in range(11)])
    assert (median, low, high) == pytest.approx((12, 4, 20))
    assert ratio_cell([4.0, 40.0], [2.0, 20.0]) == "2.00× (2.00 to 2.00)"
