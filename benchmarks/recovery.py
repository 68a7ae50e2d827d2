"""What each way to recover accuracy brings to INT8, and what calibration method and size do.

    python -m benchmarks.recovery NAME [--run FOLDER] [--only CONFIGURATION ...] [--pictures N]

Needs the outputs of prepare and export, here or in FOLDER. Every configuration is the recipe of
int8_static with some keys changed, and 8 bits of weights where 7 are not told; its model is judged
on validation pictures against the float model, in sums that are exact on any CPU. Results go to
docs/recovery.json one by one, below NAME, the tables to docs/recovery.md; started again, the
program goes on with what is not there yet. A NAME of another model, number of pictures, CPU or
ONNX Runtime is refused. A row that changed code would measure otherwise is to be deleted there by
hand.
"""

import logging
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from benchmarks.arguments import count, run_command_line
from benchmarks.finished_run import Run, open_run, told_by_name
from benchmarks.markdown import markdown_table
from benchmarks.raw_data import measured_before, publish, require_same_facts
from stages.config.params import PARAMS_FILE, load_params
from stages.config.recipes import check_recipe
from stages.config.schema import Quantize, Recipe
from stages.config.stage import run_stage
from stages.inference.cpu import thread_count
from stages.inference.saturation import exact_session
from stages.measurement.system import describe_system
from stages.quantization.ranges import RANGE_OF
from stages.quantization.variant import write_variant

log = logging.getLogger(__name__)

RAW, PAGE = Path("docs/recovery.json"), Path("docs/recovery.md")
FEW = 64  # calibration pictures; elsewhere, all there are
QAT = {"steps": 100, "batch_size": 32, "lr": 3e-3, "seed": 0}
NEAREST = {"calibration": "minmax", "bias_correction": False, "equalization": False,
           "adaptive_rounding": False, "cut_flat_tails": False, "first_in_float": 0, "qat": None,
           "reduce_range": False, "calibration_images": None}
ROUNDING = {"adaptive_rounding": True}
SEVEN_BITS = {"reduce_range": True}
# Keys that differ from NEAREST.
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    **{f"{method}{told}": {"calibration": method, "calibration_images": count}
       for method in ("minmax", *RANGE_OF, "logits")
       for told, count in (("", None), (f", {FEW}", FEW))},
    "bias correction": {"bias_correction": True},
    "equalization": {"equalization": True},
    "rounding": ROUNDING,
    "flat tails": {"cut_flat_tails": True},
    "first layer in float": {"first_in_float": 1},
    "first 2 in float": {"first_in_float": 2},
    "first 3 in float": {"first_in_float": 3},
    "equalization, bias correction": {"equalization": True, "bias_correction": True},
    "equalization, rounding": {"equalization": True, **ROUNDING},
    "flat tails, equalization, rounding": {"cut_flat_tails": True, "equalization": True,
                                           **ROUNDING},
    "first 2 in float, equalization": {"first_in_float": 2, "equalization": True},
    "first 2 in float, rounding": {"first_in_float": 2, **ROUNDING},
    "first 2 in float, equalization, rounding": {"first_in_float": 2, "equalization": True,
                                                 **ROUNDING},
    "7 bits": SEVEN_BITS,
    "7 bits, rounding": {**SEVEN_BITS, **ROUNDING},
    "7 bits, equalization, rounding": {**SEVEN_BITS, "equalization": True, **ROUNDING},
    "7 bits, qat": {**SEVEN_BITS, "qat": QAT},
    "7 bits, equalization, rounding, qat": {**SEVEN_BITS, "equalization": True, **ROUNDING,
                                            "qat": QAT},
    "7 bits, flat tails, equalization, rounding": {**SEVEN_BITS, "cut_flat_tails": True,
                                                   "equalization": True, **ROUNDING},
    "mse, rounding": {"calibration": "mse", **ROUNDING},
    "logits, flat tails": {"calibration": "logits", "cut_flat_tails": True},
    "7 bits, logits, flat tails, equalization, rounding": {
        **SEVEN_BITS, "calibration": "logits", "cut_flat_tails": True, "equalization": True,
        **ROUNDING},
}


def recipe_of(base: Recipe, name: str) -> Recipe:
    """The recipe `base` with the keys of the configuration `name`."""
    changed = OmegaConf.create({**OmegaConf.to_container(OmegaConf.structured(base)), **NEAREST,
                                **CONFIGURATIONS[name]})
    return OmegaConf.merge(OmegaConf.structured(Recipe), changed)


def measure(name: str, run: Run, quantize: Quantize, reference: np.ndarray) -> dict[str, Any]:
    """Quantize the model of `run` by the configuration `name`, judged on the run's pictures.

    Args:
        quantize: with the recipe of int8_static.
        reference: the float model's logits of these pictures, (n, classes).
    """
    recipe = recipe_of(quantize.variants.int8_static, name)
    check_recipe(name, recipe)
    with TemporaryDirectory() as folder:
        target = Path(folder) / "model.onnx"
        began = time.perf_counter()
        record = write_variant(run.source, target, recipe, run.params, run.dataset,
                               quantize.max_drop_pp)
        seconds = time.perf_counter() - began
        logits = run.logits_at(target, **exact_session(weight_type=recipe.weight_type,
                                                       reduce_range=recipe.reduce_range))
    return {"recipe": OmegaConf.to_container(recipe), "calibration_images": len(record.positions),
            "accuracy": run.accuracy(logits), **run.against(reference, logits), "seconds": seconds,
            "threads": thread_count(),
            "rounding": record.rounding, "qat": record.qat}


def earlier_results(record: dict[str, Any], base: Recipe) -> dict[str, Any]:
    """The results of `record` that are of present configurations and of their recipes."""
    return {each: result for each, result in record["results"].items()
            if each in CONFIGURATIONS
            and result["recipe"] == OmegaConf.to_container(recipe_of(base, each))}


def table(model: str, record: dict[str, Any]) -> str:
    """The results of one model in Markdown, in the order of CONFIGURATIONS."""
    setup = record["setup"]
    shown = markdown_table(
        ("int8_static with", "calibration pictures", "accuracy", "drop, points (95 %)",
         "logits against float", "predictions changed", "seconds (threads)"),
        [(name, row["calibration_images"], f"{100 * row['accuracy']:.2f} %",
          f"{row['drop_pp']:+.2f} ({row['drop_low_pp']:+.2f} to {row['drop_high_pp']:+.2f})",
          f"{row['logits_snr_db']:.2f} dB", row["flipped"],
          f"{row['seconds']:.0f} ({row['threads']})")
         for name in CONFIGURATIONS if (row := record["results"].get(name))])
    return (f"{model}: {setup['dataset']}, {setup['model']} at {setup['image_size']} px, "
            f"{setup['validation_images']:,} validation pictures, float accuracy "
            f"{100 * record['float_accuracy']:.2f} %; {record['system']['cpu']['model']}.\n\n"
            f"{shown}")


def measure_missing(model: str, folder: Path, names: Sequence[str], pictures: int) -> None:
    """Measure the configurations `names` that docs/recovery.json does not have yet below `model`.

    Raises:
        UserError: an output of prepare or export is missing in `folder`, or what is there already
            is of another model, picture count or machine.
    """
    run = open_run(folder, pictures)
    quantize = load_params("quantize.max_drop_pp", "quantize.variants.int8_static",
                           path=folder / PARAMS_FILE).quantize
    content, setup, results = measured_before(RAW), run.facts_here(), {}
    if model in content:
        require_same_facts(RAW, model, content[model]["setup"], setup)
        results = earlier_results(content[model], quantize.variants.int8_static)
    reference = run.logits_at(run.source)
    record = {"setup": setup, "float_accuracy": run.accuracy(reference)}
    for number, name in enumerate(names, start=1):
        if name in results:
            log.info("%d of %d, %s: there already", number, len(names), name)
            continue
        log.info("%d of %d, %s ...", number, len(names), name)
        results[name] = measure(name, run, quantize, reference)
        log.info("%s: drop %+.2f points, logits at %.2f dB, %.0f s", name,
                 results[name]["drop_pp"], results[name]["logits_snr_db"],
                 results[name]["seconds"])
        content[model] = {**record, "system": describe_system(), "results": results}
        publish(RAW, PAGE, "recovery", content, told)


told = partial(told_by_name, table)  # the page's block


def main() -> None:
    parser = run_command_line(__doc__)
    parser.add_argument("--only", nargs="+", choices=list(CONFIGURATIONS), metavar="CONFIGURATION",
                        default=list(CONFIGURATIONS),
                        help=f"of: {'; '.join(CONFIGURATIONS)} (default: all)")
    parser.add_argument("--pictures", type=count, default=sys.maxsize,
                        help="validation pictures, at most (default: all)")
    arguments = parser.parse_args()
    measure_missing(arguments.name, arguments.run, arguments.only, arguments.pictures)


if __name__ == "__main__":
    run_stage(main)
