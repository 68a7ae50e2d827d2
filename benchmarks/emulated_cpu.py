"""Accuracy of INT8 recipes on this CPU and on one that QEMU emulates, such as AVX2 without VNNI.

    python -m benchmarks.emulated_cpu

Needs `qemu-x86_64` (Debian's package qemu-user) and the outputs of prepare and export. First the
recipe for such a CPU is chosen here: the first of CANDIDATES whose drop on all validation pictures
is within BOUND_PP. Their sums are exact, so that both CPUs say the same. Then the float model,
the recipes of ALWAYS and the one chosen run on both, on one thread; the emulated CPU takes some
tenths of a second for each picture, and its times say nothing of a real CPU. When a model is done,
raw data goes to docs/emulated_cpu.json and the table to docs/precision.md; a run that was stopped
goes on.
"""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from benchmarks.child import run_module
from benchmarks.finished_run import Run, accuracy_of, open_run
from benchmarks.markdown import markdown_table
from benchmarks.raw_data import measured_before, publish
from stages.config.command_line import command_line
from stages.config.errors import UserError
from stages.config.params import load_params
from stages.config.schema import Quantize
from stages.config.stage import run_stage
from stages.inference.predictor import model_input
from stages.inference.saturation import products_saturate
from stages.quantization.variant import write_variant

log = logging.getLogger(__name__)

RAW, PAGE = Path("docs/emulated_cpu.json"), Path("docs/precision.md")
BLOCK = "emulated"
EMULATOR, CPU = "qemu-x86_64", "Haswell"
PICTURES = 300  # of validation, at most
# Drop in accuracy against the float model that the recipe chosen may have, in points.
BOUND_PP = 0.3
FULL, REDUCED = {"reduce_range": False}, {"reduce_range": True}
# What is changed in the recipe of int8_static, by types of activations and weights.
RECIPES = {
    "u8s8": FULL,
    "s8s8": {**FULL, "activation_type": "QInt8"},
    "u8s8_reduced": REDUCED,
    "u8s8_reduced_percentile": {**REDUCED, "calibration": "percentile"},
    "u8s8_reduced_corrected": {**REDUCED, "adaptive_rounding": False,
                               "bias_correction": True},
    "u8u8": {**FULL, "weight_type": "QUInt8"},
    "u8s8_reduced_mixed": {**REDUCED, "method": "mixed", "max_drop_pp": BOUND_PP},
}
# Recipes whose sums fit 16 bits or are made in 32; what keeps layers in float comes last.
CANDIDATES = ("u8s8_reduced", "u8s8_reduced_percentile", "u8s8_reduced_corrected", "u8u8",
              "u8s8_reduced_mixed")
ALWAYS = ("float", "u8s8", "s8s8", "u8s8_reduced")


def make_model(name: str, target: Path, run: Run, quantize: Quantize) -> None:
    """Write the float model, or that of a key of RECIPES, to `target`."""
    if name == "float":
        shutil.copyfile(run.source, target)
        return
    recipe = OmegaConf.merge(quantize.variants.int8_static, RECIPES[name])
    write_variant(run.source, target, recipe, run.params, run.dataset, quantize.max_drop_pp)


def choose(accuracy: Callable[[str], float]) -> dict[str, Any]:
    """The first of CANDIDATES within BOUND_PP of the float model, and what was tried.

    Args:
        accuracy: of "float" or a key of RECIPES, a fraction. None is asked for after the choice.
    """
    reference, tried = accuracy("float"), {}
    for name in CANDIDATES:
        tried[name] = round(100 * (reference - accuracy(name)), 4)
        log.info("%s: drop %.2f points on validation", name, tried[name])
        if tried[name] <= BOUND_PP:
            break
    best = min(tried, key=tried.get)
    return {"name": best, "within_bound": tried[best] <= BOUND_PP, "bound_pp": BOUND_PP,
            "drop_pp": tried}


def require_emulator() -> None:
    """Refuse to go on without EMULATOR, or where there is nothing to compare the emulated CPU with.

    Raises:
        UserError: it is not installed, or this CPU cuts off sums as well.
    """
    if products_saturate():
        raise UserError("this CPU has no VNNI itself; an emulated one would tell nothing else")
    if not shutil.which(EMULATOR):
        raise UserError(f"{EMULATOR}: not installed; it comes with the package qemu-user")


def run_on_both(path: Path, inputs: np.ndarray, labels: np.ndarray, cpu: str
                ) -> tuple[dict[str, float], dict[str, Any]]:
    """Accuracy of one model on this CPU and on `cpu`, and what the latter's run tells of itself.

    Raises:
        UserError: a run fails, on a CPU that QEMU does not know, say.
    """
    logits, told = [], {}
    with TemporaryDirectory() as temporary:
        given, found = Path(temporary) / "inputs.npy", Path(temporary) / "logits.npy"
        np.save(given, inputs)
        for prefix in ([], [EMULATOR, "-cpu", cpu]):
            told = json.loads(run_module("benchmarks.run_model", str(path), str(given), str(found),
                                         prefix=prefix))
            logits.append(np.load(found))
    return compare(labels, *logits), told


def measure(path: Path, inputs: np.ndarray, labels: np.ndarray, cpu: str) -> dict[str, Any]:
    """Accuracy of one model on both CPUs, how far its logits move, and what is warned of."""
    found, told = run_on_both(path, inputs, labels, cpu)
    return {**found, "emulated_cpu_ms_a_picture": told["cpu_ms_a_picture"],
            "warnings": told["warnings"], "emulated_saturates": told["saturates"]}


def compare(labels: np.ndarray, exact: np.ndarray, cut_off: np.ndarray) -> dict[str, float]:
    """Logits of the same pictures, float32 (n, classes), with and without VNNI."""
    return {"accuracy": accuracy_of(labels, exact),
            "cut_off_accuracy": accuracy_of(labels, cut_off),
            "max_logit_change": float(np.abs(exact - cut_off).max())}


def told(content: dict[str, Any]) -> str:
    """What was run on what, and the comparison, in Markdown; the recipe chosen in bold."""
    table = markdown_table(
        ("recipe", "this CPU", content["emulated_cpu"], "largest change of a logit",
         "warned at load"),
        [(f"**{name}**" if name == content["chosen"]["name"] else name,
          f"{100 * row['accuracy']:.2f} %", f"{100 * row['cut_off_accuracy']:.2f} %",
          f"{row['max_logit_change']:.3f}", "yes" if row["warnings"] else "no")
         for name, row in content["models"].items()])
    missed = "" if content["chosen"]["within_bound"] else (
        f" No recipe is within {content['bound_pp']} points; in bold is the nearest.")
    return (f"{content['model']} at {content['image_size']} px, "
            f"{content['validation_images']:,} validation pictures of {content['dataset']}; "
            f"{content['cpu']}.{missed}\n\n{table}")


def main() -> None:
    command_line(__doc__).parse_args()
    require_emulator()
    run = open_run(Path(), PICTURES)
    quantize = load_params("quantize.max_drop_pp", "quantize.variants.int8_static").quantize
    facts = {**run.facts_here(), "emulated_cpu": CPU,
             "recipe": OmegaConf.to_container(quantize.variants.int8_static), "recipes": RECIPES,
             "candidates": list(CANDIDATES), "bound_pp": BOUND_PP}
    content = measured_before(RAW)
    if not facts.items() <= content.items():
        content = {**facts, "models": {}}

    whole = replace(run, positions=run.dataset.splits["validation"])
    with TemporaryDirectory() as folder:
        def path_of(name: str) -> Path:
            path = Path(folder) / f"{name}.onnx"
            if not path.is_file():
                make_model(name, path, run, quantize)
            return path

        def accuracy(name: str) -> float:
            return whole.accuracy(whole.logits_at(path_of(name)))

        if "chosen" not in content:
            content["chosen"] = choose(accuracy)
            publish(RAW, PAGE, BLOCK, content, told)
        inputs = model_input(run.pictures[:], run.params)
        for name in dict.fromkeys((*ALWAYS, content["chosen"]["name"])):
            if name not in content["models"]:
                content["models"][name] = measure(path_of(name), inputs, run.labels, CPU)
                publish(RAW, PAGE, BLOCK, content, told)
                log.info("%s: accuracy %.4f on %s", name,
                         content["models"][name]["cut_off_accuracy"], CPU)
    print(told(content))


if __name__ == "__main__":
    run_stage(main)
