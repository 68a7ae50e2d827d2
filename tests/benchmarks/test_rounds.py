import pytest

from benchmarks.rounds import ratio


def test_ratio_is_taken_round_by_round():
    """A slow machine in one round, which slows both, leaves the ratio as it is."""
    assert ratio([4.0, 40.0], [2.0, 20.0]) == (2.0, 2.0, 2.0)
    median, low, high = ratio([2.0] * 11, [1 / (1 + i) for i in range(11)])
    assert (median, low, high) == pytest.approx((12, 4, 20))
