"""Accuracy of INT8 recipes on this CPU and on one that QEMU emulates, such as AVX2 without VNNI.

    python -m benchmarks.emulated_cpu --pictures 50

Needs `qemu-x86_64` (Debian's package qemu-user) and the outputs of prepare and export. One
recipe follows another on validation pictures, on one thread; the emulated CPU takes some tenths
of a second for each. Times under emulation count instructions and say nothing of a real CPU.
"""

import argparse
import json
import logging
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from stages.config.errors import UserError
from stages.config.params import load_params
from stages.config.schema import Params
from stages.config.stage import run_stage
from stages.data.dataset import Dataset, PictureView, evenly, load_dataset
from stages.files.atomic import write_json
from stages.measurement.predictor import model_input
from stages.measurement.preflight import cpu_fields
from stages.onnx_graph.export import INPUT
from stages.quantization.recipe import record_recipe
from stages.quantization.static import quantize_statically

log = logging.getLogger(__name__)

SOURCE = Path("models/onnx_fp32.onnx")
EMULATOR = "qemu-x86_64"
# Types of activations and weights, by what is changed in the recipe of int8_static.
RECIPES = {
    "u8s8": {},
    "u8s8_reduced": {"reduce_range": True},
    "s8s8": {"activation_type": "QInt8"},
    "u8u8": {"weight_type": "QUInt8"},
}


@dataclass(frozen=True)
class Logits:
    """What one model says of the same pictures: float32 (n, classes) on either CPU."""

    native: np.ndarray
    emulated: np.ndarray


def make_models(folder: Path, params: Params, dataset: Dataset) -> None:
    """Write the float model, and one for each of RECIPES, to `folder`."""
    shutil.copyfile(SOURCE, folder / "float.onnx")
    for name, changes in RECIPES.items():
        recipe = OmegaConf.merge(params.quantize.variants.int8_static, changes)
        quantize_statically(SOURCE, folder / f"{name}.onnx", recipe, params.model,
                            dataset.view("calibration"), INPUT)
        record_recipe(folder / f"{name}.onnx", recipe)


def run_models(folder: Path, name: str, prefix: list[str]) -> dict[str, Any]:
    """Run every model of `folder` by a command that `prefix` goes before.

    Raises:
        UserError: the command fails, on a CPU that QEMU does not know, say.
    """
    command = [*prefix, sys.executable, "-m", "benchmarks.run_models", str(folder), name]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        last = (result.stderr.strip() or "no message").splitlines()[-1]
        raise UserError(f"{' '.join(command)}: exit status {result.returncode}: {last}")
    return json.loads(result.stdout)


def compare(labels: np.ndarray, models: dict[str, Logits], told: dict[str, Any]
            ) -> dict[str, dict[str, Any]]:
    """Accuracy by model on both CPUs, how far its logits move, and what is warned of."""
    return {name: {
        "accuracy": float(np.mean(logits.native.argmax(axis=1) == labels)),
        "emulated_accuracy": float(np.mean(logits.emulated.argmax(axis=1) == labels)),
        "max_logit_change": float(np.abs(logits.native - logits.emulated).max()),
        "emulated_cpu_ms_a_picture": told[name]["cpu_ms_a_picture"],
        "warnings": told[name]["warnings"]} for name, logits in models.items()}


def table(rows: dict[str, dict[str, Any]], cpu: str) -> str:
    """The comparison in Markdown."""
    lines = [f"| {name} | {100 * row['accuracy']:.2f} % | {100 * row['emulated_accuracy']:.2f} % "
             f"| {row['max_logit_change']:.3f} | {'yes' if row['warnings'] else 'no'} |"
             for name, row in rows.items()]
    return "\n".join([f"| types | accuracy here | accuracy on {cpu} | largest change of a logit "
                      "| warned at load |", "| --- | --- | --- | --- | --- |", *lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", default="Haswell", help="a CPU of QEMU (default: Haswell)")
    parser.add_argument("--pictures", type=int, default=50, help="validation pictures, at most")
    parser.add_argument("--output", type=Path, default=Path("docs/emulated_cpu.json"))
    arguments = parser.parse_args()
    if not shutil.which(EMULATOR):
        raise UserError(f"{EMULATOR}: not installed; it comes with the package qemu-user")
    params = load_params("model", "quantize.variants.int8_static")
    dataset = load_dataset()
    positions = evenly(dataset.splits["validation"], arguments.pictures)
    pictures = PictureView(dataset.images, positions)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_models(folder, params, dataset)
        np.save(folder / "inputs.npy", model_input(pictures[:], params.model))
        native = run_models(folder, "native", [])
        log.info("ran on this CPU; %s follows", arguments.cpu)
        emulated = run_models(folder, "emulated", [EMULATOR, "-cpu", arguments.cpu])
        logits = {name: Logits(*(np.load(folder / f"{cpu}_{name}.npy")
                                 for cpu in ("native", "emulated")))
                  for name in ("float", *RECIPES)}
    rows = compare(dataset.labels[positions], logits, emulated["models"])
    write_json(arguments.output, {
        "dataset": dataset.name, "model": params.model.name,
        "image_size": params.model.image_size, "validation_images": len(positions),
        "cpu": {"model": cpu_fields().get("model name", ""), "saturates": native["saturates"]},
        "emulated_cpu": {"model": arguments.cpu, "saturates": emulated["saturates"]},
        "models": rows})
    sys.stdout.write(table(rows, arguments.cpu))


if __name__ == "__main__":
    run_stage(main)
