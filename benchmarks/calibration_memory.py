"""Peak memory of calibration by method and number of pictures, each in a process of its own.

    python -m benchmarks.calibration_memory --out docs/calibration_memory.csv

Pictures are random and stand in an array file, as prepare writes them. ONNX Runtime's own
histogram calibrator stands beside ours in rows of method onnxruntime-<method>. Each row is written
when it is measured, so that a process killed for its memory takes none of the others with it.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

from benchmarks.arguments import count
from benchmarks.child import run_module
from stages.config.errors import UserError
from stages.config.params import load_params
from stages.config.schema import Model
from stages.config.stage import run_stage
from stages.data.dataset import PictureView
from stages.files.atomic import write_csv
from stages.measurement.cold_start import peak_memory_bytes
from stages.quantization.calibration import OPERATORS, calibrate
from stages.quantization.ranges import RANGE_OF
from stages.quantization.static import feeds_of

log = logging.getLogger(__name__)

MODEL = Path("models/onnx_fp32.onnx")
METHODS = ("minmax", *RANGE_OF)
THEIRS = {"onnxruntime-percentile": CalibrationMethod.Percentile,
          "onnxruntime-entropy": CalibrationMethod.Entropy}
WITHIN = 0.10


class _Reader(CalibrationDataReader):
    def __init__(self, feeds: Iterator[dict[str, np.ndarray]]) -> None:
        self._feeds = feeds

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def measure(method: str, pictures: PictureView, params: Model) -> float:
    """Calibrate in this process; its peak resident memory in MB."""
    feeds = feeds_of(pictures, params)
    if method in THEIRS:
        with tempfile.TemporaryDirectory() as folder:
            calibrator = create_calibrator(MODEL, OPERATORS, f"{folder}/augmented.onnx",
                                           THEIRS[method])
            calibrator.collect_data(_Reader(feeds))
            calibrator.compute_data()
    else:
        calibrate(onnx.load(MODEL), method, feeds)
    return peak_memory_bytes() / 1e6


def measure_apart(method: str, count: int, images: Path) -> float:
    """`measure` in a child process, whose memory is its own."""
    printed = run_module("benchmarks.calibration_memory", "--child", method,
                         "--counts", str(count), "--images", str(images))
    return float(printed.splitlines()[-1])


def measure_all(methods: Sequence[str], counts: Sequence[int], images: Path, out: Path | None
                ) -> pd.DataFrame:
    """A row for each method and number of pictures, written to `out` as far as measured.

    Raises:
        UserError: a child process failed, or was killed for its memory.
    """
    rows = []
    for method, number in product(methods, counts):
        peak = measure_apart(method, number, images)
        rows.append({"method": method, "images": number, "peak_memory_mb": peak})
        log.info("%s, %d pictures: %.0f MB", method, number, peak)
        if out:
            write_csv(out, pd.DataFrame(rows).round(1))
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=count, nargs="+", default=[64, 512, 4096])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=[*METHODS, *THEIRS])
    parser.add_argument("--resolution", type=count, default=32, help="side of a stored picture")
    parser.add_argument("--out", type=Path, help="a CSV file to write")
    parser.add_argument("--child", choices=[*METHODS, *THEIRS], help=argparse.SUPPRESS)
    parser.add_argument("--images", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        pictures = PictureView(np.load(options.images, mmap_mode="r"),
                               np.arange(options.counts[0]))
        print(measure(options.child, pictures, load_params("model").model))
        return
    load_params("model")
    if not MODEL.is_file():
        raise UserError(f"{MODEL}: no such file; run 'dvc repro export'")
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.npy"
        np.save(images, np.random.default_rng(0).integers(
            0, 256, (max(options.counts), options.resolution, options.resolution, 3), np.uint8))
        table = measure_all(options.methods, options.counts, images, options.out)
    peaks = table.pivot(index="method", columns="images", values="peak_memory_mb")
    peaks["growth"] = peaks[max(options.counts)] / peaks[min(options.counts)] - 1
    print(peaks.loc[list(options.methods)].to_string(float_format="%.3f"))
    ours = [method for method in options.methods if method in METHODS]
    if (peaks.loc[ours, "growth"] >= WITHIN).any():
        sys.exit(f"memory grows by {WITHIN:.0%} or more")


if __name__ == "__main__":
    run_stage(main)
