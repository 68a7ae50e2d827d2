"""What a picture costs in each stage: seconds, memory, bytes on disk, from runs of two sizes.

    python -m benchmarks.stage_cost [--image-size 64]

The stages run one after the other in a folder of each size, on made-up pictures, in processes of
their own and without DVC, so that what is measured is the stage. Each runs once. The line through
the two sizes parts what is fixed from what grows. Raw data goes to docs/stage_cost.json, the table
to docs/scaling.md.

Some stages look at 1,000 validation pictures at most: the smaller size has that many, so that the
line does not grow on their account. Where a stage stops growing later, its plan stops there too.
"""

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from omegaconf import OmegaConf
from PIL import Image

from benchmarks.arguments import count
from benchmarks.child import failure
from benchmarks.markdown import markdown_table
from benchmarks.raw_data import cpu_and_threads, publish
from stages.config.command_line import command_line
from stages.config.compose import compose
from stages.config.errors import UserError
from stages.config.params import PARAMS_FILE, load_params
from stages.config.schema import Params
from stages.config.stage import run_stage
from stages.measurement.system import describe_system
from stages.quantization.mixed import VALIDATION_PICTURES

log = logging.getLogger(__name__)

ROOT = Path(__file__).parent.parent
RAW, PAGE = Path("docs/stage_cost.json"), Path("docs/scaling.md")
CLASSES = 10
COUNTS = [13_000, 26_000]  # pictures
PLAN = 1_000_000  # pictures
# Of so many pictures, 8 % validate: as many as the search for mixed precision looks at.
PLAN_AT_MOST = {"quantize int8_mixed": round(VALIDATION_PICTURES / 0.08)}
QAT_STEPS = 10
POLL_SECONDS = 0.05
HASH = "hash of data/images.npy"


def make_pictures(folder: Path, count: int, side: int) -> None:
    """Write `count` JPEG files of `side` pixels as <class>/<number>.jpg: soft noise."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"class{number % CLASSES}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (side // 16 + 1, side // 16 + 1, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(path)


def commands(params: Params) -> list[list[str]]:
    """The stages in their order, each with its argument."""
    return [["download"], ["prepare"], ["train"], ["export"],
            *(["quantize", name] for name in params.quantize.variants),
            *(["evaluate", name] for name in params.variants),
            ["benchmark"], ["analyze"], ["report"], ["deploy"]]


def run_measured(command: list[str], folder: Path, pictures: Path) -> dict[str, float]:
    """Run a stage in `folder`: its seconds, and the most memory, in MB, of it and its processes.

    Pages of mapped files don't count: the system takes them back when it needs them.

    Raises:
        UserError: the stage failed, or was killed for its memory.
    """
    began, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        process = psutil.Popen([sys.executable, "-m", f"stages.{command[0]}", *command[1:]],
                               cwd=folder, stdout=subprocess.DEVNULL, stderr=errors, env={
                                   **os.environ, "PYTHONPATH": str(ROOT),
                                   "DATA_SOURCE_PICTURES": str(pictures)})
        while process.poll() is None:
            try:
                memory = [each.memory_info()
                          for each in (process, *process.children(recursive=True))]
                peak = max(peak, sum(each.rss - getattr(each, "shared", 0) for each in memory))
            except psutil.Error:  # it has just ended
                continue
            time.sleep(POLL_SECONDS)
        if process.returncode:
            errors.seek(0)
            raise UserError(f"stages.{' '.join(command)}: "
                            f"{failure(process.returncode, errors.read())}")
    return {"seconds": time.perf_counter() - began, "peak_mb": peak / 1e6}


def bytes_in(folder: Path) -> int:
    """Bytes of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def composed(image_size: int, path: Path) -> Params:
    """The parameters of the runs, of `image_size` pixels, written to `path` as well.

    Raises:
        UserError: conf/ does not compose to them, or they are out of range.
    """
    compose(ROOT / "conf", path, [
        "~experiment", "data=imagefolder", f"data.resolution={image_size}",
        f"model.image_size={image_size}", f"train.start_image_size={image_size}",
        "train.epochs=1"])
    params = OmegaConf.load(path)
    for recipe in params.quantize.variants.values():
        if recipe.get("qat"):
            recipe.qat.steps = QAT_STEPS
    OmegaConf.save(params, path)
    return load_params("data", "model", "train", "quantize", "variants", path=path)


def measure(count: int, params: Params, params_file: Path) -> dict[str, dict[str, float]]:
    """Run all stages on `count` pictures by `params`, those of `params_file`.

    Returns:
        seconds, peak_mb and disk_mb by stage.
    """
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        pictures, folder = Path(name) / "pictures", Path(name) / "run"
        make_pictures(pictures, count, params.model.image_size)
        folder.mkdir()
        shutil.copyfile(params_file, folder / PARAMS_FILE)
        for command in commands(params):
            before = bytes_in(folder)
            result = run_measured(command, folder, pictures)
            results[" ".join(command)] = {**result, "disk_mb": (bytes_in(folder) - before) / 1e6}
            log.info("%d pictures, %s: %.1f s", count, " ".join(command), result["seconds"])
        began = time.perf_counter()
        with (folder / "data" / "images.npy").open("rb") as file:
            hashlib.file_digest(file, "md5")
        results[HASH] = {"seconds": time.perf_counter() - began, "peak_mb": 0.0, "disk_mb": 0.0}
    return results


def line(counts: list[int], values: list[float]) -> tuple[float, float]:
    """(fixed, by picture) of the line through two measurements; neither below zero."""
    slope = max(0.0, (values[1] - values[0]) / (counts[1] - counts[0]))
    return max(0.0, values[0] - slope * counts[0]), slope


def table(counts: list[int], results: list[dict[str, dict[str, float]]]) -> str:
    """A row for each stage: fixed cost, cost of a picture, and both for PLAN pictures."""
    rows = []
    total = 0.0
    for stage in results[0]:
        (fixed, slope), (memory, growth), (disk, bytes_each) = (
            line(counts, [result[stage][key] for result in results])
            for key in ("seconds", "peak_mb", "disk_mb"))
        plan = PLAN_AT_MOST.get(stage, PLAN)
        hours = (fixed + plan * slope) / 3600
        total += hours
        rows.append((stage, f"{fixed:.1f} s", f"{1e3 * slope:.3f} ms", f"{hours:.2f} h",
                     f"{memory / 1e3:.2f} GB, {(memory + plan * growth) / 1e3:.1f} GB",
                     f"{(disk + PLAN * bytes_each) / 1e3:.1f} GB"))
    rows.append(("all, one epoch", "", "", f"{total:.1f} h", "", ""))
    return markdown_table(("stage", "fixed", "by picture", "1,000,000 pictures",
                           "memory: fixed, then", "on disk then"), rows)


def told(raw: dict[str, Any]) -> str:
    """The page's block: what was measured on what, and the table."""
    (few, many), size = raw["counts"], raw["image_size"]
    return (f"JPEG pictures of {size} px, {few:,} and {many:,} of them, one reading of each, "
            f"{raw['model']} at {size} px, one epoch, {raw['qat_steps']} steps of QAT; "
            f"{cpu_and_threads(raw['system'])}.\n\n{table(raw['counts'], raw['stages'])}")


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--image-size", type=count, default=64,
                        help="pixels, stored and in training")
    image_size = parser.parse_args().image_size
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PARAMS_FILE
        params = composed(image_size, path)
        results = [measure(count, params, path) for count in COUNTS]
    raw = {"counts": COUNTS, "model": params.model.name, "image_size": image_size,
           "qat_steps": QAT_STEPS, "system": describe_system(), "stages": results}
    print(publish(RAW, PAGE, "stage cost", raw, told))


if __name__ == "__main__":
    run_stage(main)
