"""The simulation sees intervals that miss the ratio, and on which side."""

import pytest

from benchmarks import interval_coverage
from benchmarks.interval_coverage import simulate


def test_intervals_of_alike_passes_hold_the_ratio():
    row = simulate(0.0, 0.1, rounds=20, cases=5)
    assert (row["held"], row["above"]) == (1, 0)


@pytest.mark.parametrize(("interval", "above"), [((1.2, 1.1, 1.3), 1), ((0.8, 0.7, 0.9), 0)])
def test_intervals_beside_the_ratio_do_not_hold_it(monkeypatch, interval, above):
    monkeypatch.setattr(interval_coverage, "ratio_interval", lambda *times: interval)
    row = simulate(0.0, 0.1, rounds=4, cases=5)
    assert (row["held"], row["above"]) == (0, above)
