"""Every way of writing an operation computes that operation."""

import numpy as np
import pytest

from benchmarks.elementwise_int8 import SCALES, WAYS, ZEROS, measure, runs_of, table

SHAPE = (2, 3, 3, 8)


def real(values, name):
    return (values.astype(np.float64) - ZEROS[f"z{name}"]) * SCALES[f"s{name}"]


@pytest.mark.parametrize("way", [way for way in WAYS["SiLU"] if "table" not in way])
def test_silu(way):
    rng = np.random.default_rng(0)
    x = real(rng.integers(0, 256, SHAPE, np.uint8), "x")
    expected = x / (1 + np.exp(-x))
    low, high = (real(np.array(value), "y") for value in (0, 255))
    actual = real(runs_of("SiLU", SHAPE)[way](0), "y")
    # Half a step of the result, and of the sigmoid times the largest x.
    assert np.abs(actual - np.clip(expected, low, high)).max() < 0.02 + 0.5 / 255 * 10 + 1e-6


@pytest.mark.parametrize("way", WAYS["squeeze-excitation"])
def test_product_by_channel(way):
    rng = np.random.default_rng(0)
    x = real(rng.integers(0, 256, SHAPE, np.uint8), "x")
    gate = real(rng.integers(0, 256, (2, 1, 1, 8), np.uint8), "g")
    low, high = (real(np.array(value), "y") for value in (0, 255))
    actual = real(runs_of("squeeze-excitation", SHAPE)[way](0), "y")
    assert np.abs(actual - np.clip(x * gate, low, high)).max() < 0.02 + 1e-6


def test_table_compares_with_the_first_way():
    times = measure("SiLU", SHAPE, 3)
    lines = table([{"operation": "SiLU", "shape": SHAPE, "ns": times}]).splitlines()
    assert list(times) == list(WAYS["SiLU"])
    assert {len(each) for each in times.values()} == {3}
    assert lines[2].startswith("| SiLU | QLinearSigmoid, QLinearMul | 2 × 3 × 3 × 8 |")
    assert lines[2].endswith("| 1.00× (1.00 to 1.00) |")
