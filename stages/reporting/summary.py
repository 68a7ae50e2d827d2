"""metrics/summary.json: the one file in which variants and branches are compared."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.config.errors import UserError
from stages.config.schema import REFERENCE
from stages.files.reading import read_csv
from stages.measurement.accuracy import (
    Comparison,
    calibration_error,
    compare,
    pictures_needed,
    pictures_told,
)

# Share of speed within which accuracy decides: runs of one model differ by 7 %, and once by 10 %.
TIE = 0.07
CONFUSION = Path("plots/confusion")
PERCENTILE = re.compile(r"latency_p\d+_ms")


def comparison(predictions: pd.DataFrame, reference: pd.DataFrame, split: str) -> Comparison:
    """Compare a variant's predictions with the reference's on `split`; both as evaluate wrote.

    Raises:
        UserError: they are not of the same pictures.
    """
    ours, theirs = (table[table.split == split].sort_values("position")
                    for table in (predictions, reference))
    if not np.array_equal(ours.position, theirs.position):
        raise UserError(f"data/predictions: the {split} pictures of a variant are not those of "
                        f"{REFERENCE}; run 'dvc repro'")
    return compare(ours.label.to_numpy(), theirs.predicted.to_numpy(), ours.predicted.to_numpy())


def summarize(evaluations: dict[str, dict[str, Any]], benchmark: dict[str, dict[str, float]],
              predictions: dict[str, pd.DataFrame]) -> dict[str, dict[str, float]]:
    """One row for each variant; drops and speed-ups are against `onnx_fp32` in the same run.

    Accuracy is of the test split, but for `validation_accuracy`, by which experiments are chosen.
    Speed-ups, with 95 % intervals, are the benchmark's ratios of paired runs.
    """
    rows = {}
    for name, evaluation in evaluations.items():
        against = comparison(predictions[name], predictions[REFERENCE], "test")
        tested = predictions[name][predictions[name].split == "test"]
        speed = benchmark[name]
        rows[name] = {
            **{key: evaluation[key] for key in ("accuracy", "accuracy_ci95_low",
                                                "accuracy_ci95_high", "validation_accuracy")},
            **against.accuracy_drop(),
            "flip_rate": against.flipped / against.n,
            "mcnemar_p": against.mcnemar_p,
            "calibration_error": calibration_error(
                (tested.label == tested.predicted).to_numpy(), tested.confidence.to_numpy()),
            "size_mb": evaluation["size_mb"],
            **{key: value for key, value in speed.items() if PERCENTILE.fullmatch(key)},
            **{key: speed[key] for key in (
                "end_to_end_p50_ms", "throughput_img_s",
                *(f"speedup_{measure}{end}" for measure in ("latency", "throughput")
                  for end in ("", "_ci95_low", "_ci95_high")),
                "load_ms", "first_run_ms", "peak_memory_mb")}}
    return rows


def comparisons(predictions: dict[str, pd.DataFrame]) -> dict[str, dict[str, dict[str, float]]]:
    """Each variant against the reference, on validation and on test."""
    result = {}
    for name, table in predictions.items():
        result[name] = {}
        for split in ("validation", "test"):
            against = comparison(table, predictions[REFERENCE], split)
            result[name][split] = {
                "images": against.n, "lost": against.lost, "gained": against.gained,
                "flipped": against.flipped, **against.drop(),
                "mcnemar_p": against.mcnemar_p}
    return result


def read_confusion(variant: str) -> pd.DataFrame:
    """Columns actual and predicted, class names, a row for each test picture, as evaluate wrote.

    Raises:
        UserError: no such file.
    """
    return read_csv(CONFUSION / f"{variant}.csv", dtype=str, keep_default_na=False)


def select(candidates: dict[str, dict[str, float]], against: dict[str, dict[str, dict[str, float]]],
           max_drop_pp: float) -> dict[str, str]:
    """Pick the one of `candidates` to ship: the fastest that is accurate enough on validation.

    Of those within TIE of the fastest it is the most accurate.
    Faster: the 95 % interval of the paired ratio is above 1, so that noise alone selects nothing.
    Accurate enough: the one-sided 95 % upper bound of its drop, tested by itself and not together
    with those of the others, is within `max_drop_pp` points.
    The float model is picked when no other is both accurate enough and faster.

    Args:
        candidates: rows of `summarize`, of ONNX models other than the reference.
        against: what `comparisons` gives.
    """
    faster = {name: row for name, row in candidates.items()
              if row["speedup_latency_ci95_low"] > 1}
    good = {name: row for name, row in faster.items()
            if against[name]["validation"]["drop_upper_pp"] <= max_drop_pp}
    if not good:
        told = "; ".join(
            f"{name}: drop up to {against[name]['validation']['drop_upper_pp']:.2f} points, "
            f"{_times(row)} as fast" for name, row in candidates.items()) or "there is none"
        images, needed = against[REFERENCE]["validation"]["images"], pictures_needed(max_drop_pp)
        few = "" if images >= needed else (
            f"; {images} validation pictures are too few to show such a drop at 95 %, "
            f"{pictures_told(max_drop_pp)}")
        return {"variant": REFERENCE,
                "reason": f"no variant is surely faster with a drop within {max_drop_pp} points "
                          f"({told}){few}"}
    fastest = max(good, key=lambda key: good[key]["speedup_latency"])
    least = good[fastest]["speedup_latency"] * (1 - TIE)
    level = [key for key, row in good.items() if row["speedup_latency"] >= least]
    name = min(level, key=lambda key: (against[key]["validation"]["drop_upper_pp"],
                                       -good[key]["speedup_latency"]))
    rank, less = ("fastest", "") if name == fastest else (
        f"within {100 * TIE:g} % of {fastest}, the fastest", ", and with less of a drop")
    return {"variant": name,
            "reason": f"{rank} whose drop on validation is within {max_drop_pp} points at 95 %"
                      f"{less} (at most {against[name]['validation']['drop_upper_pp']:.2f}), "
                      f"{_times(good[name])} as fast as {REFERENCE}"}


def _times(row: dict[str, float]) -> str:
    low, high = (row[f"speedup_latency_ci95_{end}"] for end in ("low", "high"))
    return f"{row['speedup_latency']:.2f} times ({low:.2f} to {high:.2f})"
