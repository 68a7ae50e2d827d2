"""The simulation sees an interval that is too narrow."""

from benchmarks import interval_coverage
from benchmarks.interval_coverage import simulate


def test_intervals_of_alike_passes_hold_the_ratio():
    row = simulate(0.0, 0.1, rounds=20, cases=5)
    assert (row["held"], row["above"]) == (1, 0)


def test_an_interval_of_no_width_holds_it_never(monkeypatch):
    monkeypatch.setattr(interval_coverage, "ratio_interval", lambda *times: (1.2, 1.1, 1.3))
    row = simulate(0.0, 0.1, rounds=4, cases=5)
    assert (row["held"], row["above"]) == (0, 1)
