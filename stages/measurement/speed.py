"""From timed runs to the rows of metrics/benchmark.json."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.measurement.intervals import Passes, percentile_interval, ratio_interval
from stages.measurement.scenarios import Measurement, Setting

MS = 1e3


def pooled(passes: Passes) -> np.ndarray:
    """The runs of all passes, shape (n,)."""
    return np.concatenate([np.asarray(values) for values in passes])


def latency_row(passes: Passes, percentiles: Sequence[int], label: str) -> dict[str, float]:
    """The percentiles of one picture's time in ms, each with its interval."""
    row = {}
    for percentile in percentiles:
        value, low, high = percentile_interval(MS * pooled(passes), percentile)
        key = f"{label}_p{percentile}_ms"
        row |= {key: value, f"{key}_ci95_low": low, f"{key}_ci95_high": high}
    return row


def images_per_second(setting: Setting, passes: Passes) -> float:
    """Throughput of a setting, by the median of its runs."""
    return setting.batch_size * setting.streams / float(np.median(pooled(passes)))


def best_settings(offline: dict[Setting, Passes]) -> dict[str, Setting]:
    """The setting of most pictures a second, by contender."""
    best: dict[str, Setting] = {}
    for setting in sorted(offline, key=lambda each: images_per_second(each, offline[each])):
        best[setting.name] = setting
    return best


def speed_rows(measured: Measurement, reference: str, percentiles: Sequence[int]
               ) -> dict[str, dict[str, Any]]:
    """A row for each contender; speed-ups are ratios to `reference`, paired by round.

    In Offline each has its own best setting, so pictures a second are compared.
    """
    best = best_settings(measured.offline)
    by_picture = {name: [[second / (setting.batch_size * setting.streams) for second in values]
                         for values in measured.offline[setting]]
                  for name, setting in best.items()}
    rows = {}
    for name, warm_ups in measured.warm_ups.items():
        setting = best[name]
        rows[name] = {
            **latency_row(measured.latency[name], percentiles, "latency"),
            **latency_row(measured.end_to_end[name], percentiles, "end_to_end"),
            "throughput_img_s": images_per_second(setting, measured.offline[setting]),
            "throughput_batch_size": setting.batch_size, "throughput_streams": setting.streams,
            **_ratio("latency", measured.latency, name, reference),
            **_ratio("end_to_end", measured.end_to_end, name, reference),
            **_ratio("throughput", by_picture, name, reference),
            "warmup_runs": max(each.runs for each in warm_ups),
            "settled": all(each.stable for each in warm_ups)}
    return rows


def _ratio(label: str, series: dict[str, Passes], name: str, reference: str) -> dict[str, float]:
    ratio, low, high = ratio_interval(series[reference], series[name])
    key = f"speedup_{label}"
    return {key: ratio, f"{key}_ci95_low": low, f"{key}_ci95_high": high}
