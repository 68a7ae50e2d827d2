import numpy as np
import pytest

from stages.measurement.scenarios import Measurement, Setting
from stages.measurement.speed import best_settings, images_per_second, speed_rows
from stages.measurement.timing import WarmUp


@pytest.fixture
def measured():
    """a is the reference; b is twice as fast for one picture, and four times in two streams."""
    random = np.random.default_rng(0)

    def around(seconds, passes=5, runs=20):
        return [list(seconds * random.uniform(0.99, 1.01, runs)) for _ in range(passes)]

    return Measurement(
        latency={"a": around(0.004), "b": around(0.002)},
        end_to_end={"a": around(0.005), "b": around(0.003)},
        offline={Setting("a", 1, 1): around(0.004, runs=1), Setting("a", 8, 1): around(0.016, 5, 1),
                 Setting("a", 8, 2): around(0.04, 5, 1), Setting("b", 8, 1): around(0.008, 5, 1),
                 Setting("b", 8, 2): around(0.008, 5, 1)},
        warm_ups={"a": [WarmUp(20, True)] * 5, "b": [WarmUp(20, True), WarmUp(100, False)]})


def test_best_setting_is_of_most_pictures_a_second(measured):
    assert images_per_second(Setting("a", 8, 2), [[0.5], [1.0], [2.0]]) == 16
    assert best_settings(measured.offline) == {"a": Setting("a", 8, 1), "b": Setting("b", 8, 2)}


def test_rows_by_hand(measured):
    rows = speed_rows(measured, "a", [50, 90])
    assert list(rows) == ["a", "b"]
    row = rows["b"]
    for key, value in {"latency_p50_ms": 2, "end_to_end_p50_ms": 3, "latency_p90_ms": 2,
                       "throughput_img_s": 2000, "speedup_latency": 2,
                       "speedup_end_to_end": 5 / 3, "speedup_throughput": 4}.items():
        assert row[key] == pytest.approx(value, rel=0.03)
    assert (row["throughput_batch_size"], row["throughput_streams"]) == (8, 2)
    for key in ("latency_p50_ms", "latency_p90_ms", "speedup_latency", "speedup_end_to_end",
                "speedup_throughput"):
        assert row[f"{key}_ci95_low"] <= row[key] <= row[f"{key}_ci95_high"]
    assert (row["warmup_runs"], row["settled"]) == (100, False)
    assert (rows["a"]["warmup_runs"], rows["a"]["settled"]) == (20, True)


def test_reference_is_as_fast_as_itself(measured):
    row = speed_rows(measured, "a", [50])["a"]
    for measure in ("latency", "end_to_end", "throughput"):
        assert {row[f"speedup_{measure}{end}"]
                for end in ("", "_ci95_low", "_ci95_high")} == {1}
    assert not any("p90" in key for key in row)
