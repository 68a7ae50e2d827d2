"""What a user of the shipped model waits for, on a small network."""

import numpy as np
import pytest
from inverted_residual import SIDE, network
from refusals import refusal
from synthetic import a_system

from benchmarks import deployed, int8_layout, untrained
from benchmarks.deployed import BEFORE, SHIPPED, measure, told
from stages.config.schema import REFERENCE


@pytest.fixture
def small(monkeypatch):
    for module, changes in ((int8_layout, {"SIZE": SIDE, "PICTURES": 4}),
                            (untrained, {"untrained": lambda *_: None,
                                         "export_onnx": lambda *_: network("Clip")}),
                            (deployed, {"SIZE": SIDE, "SIDES": (3, 40), "BATCHES": (1, 2)})):
        for name, value in changes.items():
            monkeypatch.setattr(module, name, value)


def test_both_models_are_timed_from_pictures_to_class(small):
    times = measure(2)["milliseconds"]
    assert list(times) == ["3", "40"]
    for batches in times.values():
        assert list(batches) == ["1", "2"]
        for each in batches.values():
            assert list(each) == [REFERENCE, SHIPPED, BEFORE]
            assert all(len(series) == 2 and min(series) > 0 for series in each.values())


def test_ways_that_differ_are_not_compared(small, monkeypatch):
    monkeypatch.setattr(deployed, "_run", lambda *_: np.random.default_rng().random(3))
    assert refusal(measure, 2) == "pictures of 3 px: the logits differ, and should not"


def test_ratios_are_taken_round_by_round():
    text = told({"rounds": 2, "milliseconds": {"32": {"1": {
        REFERENCE: [4.0, 8.0], SHIPPED: [2.0, 4.0], BEFORE: [3.0, 6.0]}}}, "system": a_system()})
    assert text.rstrip().endswith("| 32 | 1 | 6.00 | 3.00 | 2.00× (2.00 to 2.00) | 4.50 "
                                  "| 1.50× (1.50 to 1.50) |")
