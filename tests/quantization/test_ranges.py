"""Ranges judged from a histogram, against what the values themselves say."""

import numpy as np
import pytest

from stages.quantization.histogram import Histogram
from stages.quantization.ranges import RANGE_OF, entropy_range, mse_range, percentile_range


def histogram_of(values):
    histogram = Histogram()
    histogram.update(values)
    return histogram


def normal(count=50_000, seed=0):
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def with_outlier(largest):
    return np.append(normal(), np.float32(largest))


def squared_error(values, lowest, highest):
    """Mean squared error of `values` in 256 steps from `lowest` to `highest`, zero among them."""
    step = (highest - lowest) / 255
    zero = np.round(-lowest / step)
    levels = np.clip(np.round(values / step) + zero, 0, 255) - zero
    return np.mean(np.square(values - levels * step, dtype=np.float64))


@pytest.mark.parametrize("values", [normal(), np.maximum(normal(), 0), with_outlier(40),
                                    np.clip(3 * normal(), 0, 6)],
                         ids=["normal", "relu", "outlier", "relu6"])
def test_percentile_cuts_its_share_off_the_ends(values):
    lowest, highest = percentile_range(histogram_of(values))
    expected = np.percentile(values, [0.005, 99.995])
    assert (lowest, highest) == pytest.approx(expected, abs=0.1)
    assert np.mean((values < lowest) | (values > highest)) <= 1e-4


@pytest.mark.parametrize("values", [normal(), np.maximum(normal(), 0), with_outlier(40),
                                    with_outlier(-40), np.clip(3 * normal(), 0, 6)],
                         ids=["normal", "relu", "high outlier", "low outlier", "relu6"])
def test_mse_is_the_best_threshold_on_the_values_themselves(values):
    lowest, highest = mse_range(histogram_of(values))
    thresholds = np.geomspace(np.abs(values).max() / 100, np.abs(values).max(), 200)
    best = min(squared_error(values, max(-each, values.min()), min(each, values.max()))
               for each in thresholds)
    assert squared_error(values, float(lowest), float(highest)) <= 1.03 * best


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_a_lone_outlier_is_cut_off(method):
    lowest, highest = RANGE_OF[method](histogram_of(with_outlier(500)))
    assert 2 < highest < 100
    assert lowest < -2


def test_entropy_keeps_what_is_spread_evenly():
    values = np.linspace(-3, 3, 60_001, dtype=np.float32)
    assert entropy_range(histogram_of(values)) == (-3, 3)


def test_entropy_does_not_count_exact_zeros():
    """A spike at zero costs nothing, for zero is kept exactly."""
    values = np.maximum(normal(), 0)
    more = np.append(values, np.zeros(len(values), dtype=np.float32))
    assert entropy_range(histogram_of(more)) == entropy_range(histogram_of(values))


@pytest.mark.parametrize("method", RANGE_OF)
@pytest.mark.parametrize(("values", "expected"), [
    ([0, 0, 0], (0, 0)), ([5] * 3, (0, 5)), ([-5] * 3, (-5, 0))], ids=["zero", "five", "minus"])
def test_a_constant_tensor_has_a_range(method, values, expected):
    lowest, highest = RANGE_OF[method](histogram_of(np.array(values, dtype=np.float32)))
    assert lowest <= 0 <= highest
    assert (lowest, highest) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("method", RANGE_OF)
def test_a_range_stays_within_what_was_seen(method):
    values = normal(2000) + np.float32(1)
    lowest, highest = RANGE_OF[method](histogram_of(values))
    assert values.min() <= lowest <= 0 < highest <= values.max()
    assert lowest.dtype == highest.dtype == np.float32


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [512, 1024, 4096])
def test_entropy_keeps_most_of_values_that_stay_away_from_zero(count, seed):
    """As gates do. A range that clips all of them to one edge leaves nothing that could diverge."""
    values = 1 / (1 + np.exp(-normal(count, seed)))
    lowest, highest = entropy_range(histogram_of(values))
    assert np.mean((values < lowest) | (values > highest)) < 0.5
