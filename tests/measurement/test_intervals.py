import numpy as np
import pytest
from refusals import refusal
from scipy.stats import norm

from stages.measurement.intervals import (
    minimum_runs,
    percentile_interval,
    ratio_interval,
    require_runs,
    tail_of_few,
)


@pytest.mark.parametrize(("percentile", "runs"), [(50, 6), (90, 36), (95, 72), (99, 368), (1, 368)])
def test_fewest_runs_of_a_percentile(percentile, runs):
    assert minimum_runs(percentile) == runs
    rarer = max(percentile, 100 - percentile) / 100
    assert rarer**runs <= 0.025 < rarer**(runs - 1)


@pytest.mark.parametrize("percentile", [50, 90, 99])
def test_with_the_fewest_runs_the_interval_is_within_what_was_seen(percentile):
    values = np.arange(float(minimum_runs(percentile)))
    value, low, high = percentile_interval(values, percentile)
    assert values[0] <= low < value < high == values[-1]


def test_too_few_runs_are_refused():
    require_runs([50, 90], 36)
    assert refusal(require_runs, [50, 90, 99], 100) == (
        "benchmark.latency_runs: got 100, percentile 99 with its interval needs 368; raise it, or "
        "leave 99 out of benchmark.percentiles")


def test_interval_of_the_median_by_the_published_table():
    """n = 100: ranks 40 and 61."""
    values = np.random.default_rng(0).permutation(np.arange(1.0, 101))
    assert percentile_interval(values, 50) == (50.5, 40, 61)


@pytest.mark.parametrize("percentile", [50, 90])
def test_interval_holds_the_true_percentile_95_times_of_100(percentile):
    random = np.random.default_rng(1)
    true = np.log(1 / (1 - percentile / 100))  # of an exponential distribution
    intervals = [percentile_interval(random.exponential(size=100), percentile)
                 for _ in range(400)]
    held = np.mean([low <= true <= high for _, low, high in intervals])
    assert 0.93 <= held <= 0.99


def passes(*levels, runs=20, noise=0.01, seed=0):
    """Times of as many passes as `levels`, each around its own level."""
    random = np.random.default_rng(seed)
    return [list(level * random.lognormal(sigma=noise, size=runs)) for level in levels]


def test_same_times_have_the_ratio_one_for_certain():
    times = passes(1, 1, 1)
    assert ratio_interval(times, times) == (1, 1, 1)


def test_a_slow_moment_that_hits_both_leaves_the_ratio():
    ours, drift = passes(1, 1, 1, 1, 1), np.linspace(1, 5, 100).reshape(5, 20)
    reference = [[2 * second for second in run] for run in ours]
    slowed = [[[second * factor for second, factor in zip(run, factors, strict=True)]
               for run, factors in zip(times, drift, strict=True)] for times in (reference, ours)]
    assert ratio_interval(*slowed) == pytest.approx((2, 2, 2))


def test_passes_of_unequal_length_count_by_their_pairs():
    times = [[1.0, 2.0, 4.0], [3.0], [1.0, 5.0, 2.0, 7.0]]
    assert ratio_interval([[2 * each for each in some] for some in times], times) == (2, 2, 2)


def test_noise_within_a_single_pass_widens_the_interval():
    ratio, low, high = ratio_interval(passes(2, noise=0.2, seed=1), passes(1, noise=0.2, seed=2))
    assert low < ratio < high


def test_noise_makes_the_interval_wide():
    widths = []
    for noise in (0.01, 0.1, 0.5):
        ratio, low, high = ratio_interval(passes(2, 2, 2, 2, 2, noise=noise, seed=1),
                                          passes(1, 1, 1, 1, 1, noise=noise, seed=2))
        assert low <= ratio <= high
        assert low < 2 < high
        widths.append(high - low)
    assert widths[0] < widths[1] < widths[2]


def test_passes_that_differ_make_the_interval_wide():
    """Each pass alone is sure of its ratio; that the next one has another shows only between."""
    reference = passes(1, 1, 1, 1, 1, noise=1e-4)
    alike = ratio_interval(reference, passes(0.5, 0.5, 0.5, 0.5, 0.5, noise=1e-4, seed=1))
    differing = ratio_interval(reference, passes(0.45, 0.5, 0.5, 0.5, 0.55, noise=1e-4, seed=1))
    assert alike[2] - alike[1] < 0.01
    assert differing[2] - differing[1] > 0.1


def test_a_pass_without_runs_is_left_out():
    assert ratio_interval([[2.0], [], [4.0]], [[1.0], [], [2.0]]) == (2, 2, 2)


def test_ratio_is_the_same_every_time():
    reference, times = passes(2, 2, noise=0.2), passes(1, 1, noise=0.2, seed=3)
    assert ratio_interval(reference, times) == ratio_interval(reference, times)


@pytest.mark.parametrize(("passes", "students_t"), [(2, 12.706), (5, 2.776), (10, 2.262)])
def test_few_passes_make_the_interval_as_wide_as_students_t(passes, students_t):
    """Resamples of n values spread by sqrt((n - 1) / n) of the unbiased standard deviation."""
    width = -norm.ppf(tail_of_few(passes)) * np.sqrt((passes - 1) / passes)
    assert width == pytest.approx(students_t, abs=1e-3)


def test_of_one_pass_or_of_many_the_tail_is_the_plain_one():
    assert tail_of_few(1) == pytest.approx(0.025)
    assert tail_of_few(10_000) == pytest.approx(0.025, abs=1e-4)
