"""Histograms whose counts do not depend on how the values came."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.quantization.histogram import BINS, Histogram

MAGNITUDES = st.floats(2.0**-50, 2.0**50, width=32)
VALUES = arrays(np.float32, st.integers(1, 40), elements=st.one_of(
    MAGNITUDES, MAGNITUDES.map(lambda value: -value), st.just(0.0)))


def histogram_of(*parts):
    histogram = Histogram()
    for part in parts:
        histogram.update(np.asarray(part, dtype=np.float32))
    return histogram


@settings(max_examples=30)
@given(VALUES, st.randoms(use_true_random=False))
def test_batches_and_their_order_change_nothing(values, random):
    whole, shuffled = histogram_of(values), values.tolist()
    random.shuffle(shuffled)
    parts = histogram_of(*([value] for value in shuffled))
    np.testing.assert_array_equal(parts.counts, whole.counts)
    assert (parts.width, parts.zeros) == (whole.width, whole.zeros)
    assert (parts.lowest, parts.highest) == (values.min(), values.max())


def test_zeros_that_come_first_leave_bins_as_fine_as_later_ones_do():
    small = np.float32(0.01) * np.random.default_rng(0).random(1000, dtype=np.float32)
    first, last = (histogram_of(*parts) for parts in ((np.zeros(50), small),
                                                      (small, np.zeros(50))))
    assert first.width == last.width < small.max() / 1000
    np.testing.assert_array_equal(first.counts, last.counts)


def test_zeros_alone_are_counted():
    histogram = histogram_of(np.zeros(5))
    assert (histogram.counts[BINS // 2], histogram.counts.sum(), histogram.zeros) == (5, 5, 5)


@settings(max_examples=30)
@given(VALUES)
def test_every_value_is_counted_in_the_bin_that_holds_it(values):
    histogram = histogram_of(values[:1], values)
    expected = np.histogram(np.append(values, values[0]).astype(np.float64), histogram.edges)[0]
    np.testing.assert_array_equal(histogram.counts, expected)


@pytest.mark.parametrize("largest", [1e-30, 0.7, 6.0, 8.0, 1e30])
def test_bins_are_as_fine_as_the_largest_value_allows(largest):
    histogram = histogram_of([largest])
    assert BINS / 4 <= np.float32(largest) / histogram.width < BINS / 2


def test_memory_does_not_grow_with_values():
    small, large = histogram_of([1]), histogram_of(*([value] for value in range(200)))
    assert small.counts.nbytes == large.counts.nbytes == 8 * BINS
    assert not any(isinstance(held, list) for held in vars(large).values())


def test_exact_zeros_are_told_apart():
    histogram = histogram_of([0, -0.0, 1e-6, 5], [0, -5])
    assert histogram.zeros == 3
    assert histogram.counts.sum() == 6
