"""Peak memory of calibration by method and number of pictures, each in a process of its own.

    python -m benchmarks.calibration_memory

The float model of the present experiment is calibrated on random pictures that stand in an array
file, as prepare writes them. Beside it stand a process that has loaded all the same and calibrates
nothing, and ONNX Runtime's own histogram calibrators, which keep all activations of all pictures,
and are given fewer. Raw data goes to docs/calibration_memory.json, the table to docs/scaling.md;
each number is written when it is measured, so that a process killed for its memory takes none of
the others with it.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, create_calibrator

from benchmarks.arguments import count
from benchmarks.child import run_module
from benchmarks.markdown import markdown_table
from benchmarks.raw_data import cpu_and_threads, publish
from stages.config.command_line import command_line
from stages.config.errors import UserError
from stages.config.params import load_params
from stages.config.schema import Model, Recipe
from stages.config.stage import run_stage
from stages.data.dataset import PictureView
from stages.measurement.cold_start import peak_memory_bytes
from stages.measurement.system import describe_system
from stages.onnx_graph.names import FLOAT_FILE
from stages.quantization.calibration import OPERATORS, FeedReader
from stages.quantization.ranges import RANGE_OF
from stages.quantization.static import activation_ranges, feeds_of

log = logging.getLogger(__name__)

RAW, PAGE = Path("docs/calibration_memory.json"), Path("docs/scaling.md")
NOTHING = "nothing calibrated"
METHODS = ("minmax", *RANGE_OF, "logits")
THEIRS = {"onnxruntime-percentile": CalibrationMethod.Percentile,
          "onnxruntime-entropy": CalibrationMethod.Entropy}
COUNTS, THEIR_COUNTS = (64, 512, 4096), (64, 512)
RESOLUTION = 32  # pixels, side of a stored picture
WITHIN = 0.10


def measure(method: str, pictures: PictureView, params: Model) -> float:
    """Calibrate in this process; its peak resident memory in MB."""
    model = onnx.load(FLOAT_FILE)
    if method in THEIRS:
        with tempfile.TemporaryDirectory() as folder:
            calibrator = create_calibrator(FLOAT_FILE, OPERATORS, f"{folder}/augmented.onnx",
                                           THEIRS[method])
            calibrator.collect_data(FeedReader(feeds_of(pictures, params)))
            calibrator.compute_data()
    elif method != NOTHING:
        recipe = Recipe(method="static", weight_type="QInt8", activation_type="QUInt8",
                        per_channel=True, calibration=method, bias_correction=False)
        activation_ranges(model, recipe, params, pictures)
    return peak_memory_bytes() / 1e6


def measure_apart(method: str, number: int, images: Path) -> float:
    """`measure` in a child process, whose memory is its own."""
    printed = run_module("benchmarks.calibration_memory", "--child", method, str(number),
                         str(images))
    return float(printed.splitlines()[-1])


def measure_all(counts: dict[str, Sequence[int]], record: dict[str, Any], images: Path) -> str:
    """Measure each method at each of its numbers of pictures; what the page's block says then.

    Raises:
        UserError: a child process failed, or was killed for its memory.
    """
    text = ""
    for method, numbers in counts.items():
        for number in numbers:
            peak = measure_apart(method, number, images)
            log.info("%s, %d pictures: %.0f MB", method, number, peak)
            record["peak_memory_mb"].setdefault(method, {})[str(number)] = round(peak, 1)
            text = publish(RAW, PAGE, "memory", record, told)
    return text


def growth(peaks: dict[str, float]) -> float:
    """Of memory from the fewest pictures to the most, a fraction; 0 where there is one number."""
    values = list(peaks.values())
    return values[-1] / values[0] - 1


def told(record: dict[str, Any]) -> str:
    """What was measured on what, and the table."""
    peaks = record["peak_memory_mb"]
    numbers = sorted({int(number) for row in peaks.values() for number in row} - {0})
    system = record["system"]
    rows = []
    for method, row in peaks.items():
        cells = [f"{row[str(number)]:,.0f} MB" if str(number) in row else ""
                 for number in numbers]
        if method == NOTHING:
            cells = [f"{row['0']:,.0f} MB"] * len(numbers)
        rows.append((method, *cells, f"{100 * growth(row):.1f} %" if len(row) > 1 else ""))
    columns = ("method", *(f"{number:,} pictures" for number in numbers), "growth")
    return (f"{record['model']} at {record['image_size']} px; {cpu_and_threads(system)}, "
            f"{system['memory_gb']} GB; onnxruntime {system['packages']['onnxruntime']}.\n\n"
            f"{markdown_table(columns, rows)}")


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--counts", type=count, nargs="+", default=list(COUNTS),
                        help="of pictures")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    params = load_params("model").model
    if options.child:
        method, number, images = options.child
        pictures = PictureView(np.load(images, mmap_mode="r"), np.arange(int(number)))
        print(measure(method, pictures, params))
        return
    if not FLOAT_FILE.is_file():
        raise UserError(f"{FLOAT_FILE}: no such file; run 'dvc repro export'")
    ours = sorted(set(options.counts))
    theirs = [number for number in ours if number in THEIR_COUNTS]
    counts = {NOTHING: [0], **{method: ours for method in METHODS},
              **{method: theirs for method in THEIRS}}
    record = {"model": params.name, "image_size": params.image_size, "peak_memory_mb": {},
              "system": describe_system()}
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.npy"
        np.save(images, np.random.default_rng(0).integers(
            0, 256, (max(options.counts), RESOLUTION, RESOLUTION, 3), np.uint8))
        print(measure_all(counts, record, images))
    if any(growth(record["peak_memory_mb"][method]) >= WITHIN for method in METHODS):
        sys.exit(f"memory grows by {WITHIN:.0%} or more")


if __name__ == "__main__":
    run_stage(main)
