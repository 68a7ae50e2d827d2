"""Which factor of quantization costs how much: every cell of the ablation, for a trained model.

    python -m benchmarks.autopsy lite0-digits
    python -m benchmarks.autopsy b0-digits --run ../b0 --emulate Haswell
    python -m benchmarks.autopsy             # draws the page from what was measured before

Measured are the model of a finished run and its twins, whose bottleneck channels are made as
unequal as those of EfficientNet-Lite0's published ImageNet weights, and more so, at equal float
logits (benchmarks.rescale). Each cell is written to docs/collapse.json when it is done, and one
that stands there is not measured again: a run that was stopped goes on.

What a CPU without VNNI cuts off is measured by itself. On a CPU with VNNI `--emulate` runs integer
models on one that `qemu-x86_64` (Debian's package qemu-user) emulates as well. On a CPU without
VNNI the grid's sums are made in float, between the same roundings, and the integers run beside.
"""

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx

from benchmarks.ablation_grid import activated_outputs, grid
from benchmarks.arguments import count
from benchmarks.autopsy_page import AS_TRAINED, DATA, LAYER_CELLS, draw
from benchmarks.emulated_cpu import compare, require_emulator, run_on_both
from benchmarks.finished_run import Run, open_run
from benchmarks.presets import LITE0, preset_params
from benchmarks.raw_data import measured_before, recorded_db, require_same_facts
from benchmarks.rescale import profile, widened
from stages.analysis.ablation import BASE_RECIPE, Cell, write_cell
from stages.analysis.layer_error import output_snr_db
from stages.config.command_line import command_line
from stages.config.errors import UserError
from stages.config.stage import run_stage
from stages.data.dataset import evenly
from stages.files.atomic import write_json
from stages.inference.predictor import model_input
from stages.inference.saturation import EXACT_SUMS, exact_session, products_saturate
from stages.measurement.noise import signal_to_noise_db
from stages.model.build import build_model
from stages.onnx_graph.export import export_onnx
from stages.onnx_graph.names import INPUT
from stages.quantization.equalization import Group, channel_statistics, find_groups
from stages.quantization.static import Calibrated

log = logging.getLogger(__name__)

POWERS = (1.0, 2.0, 4.0)
EMULATED_PICTURES = 100  # at most
TINY = float(np.finfo(np.float32).tiny)  # in place of the median of channels that are dead


def published_model(image_size: int) -> onnx.ModelProto:
    """EfficientNet-Lite0 as published, batch norm folded."""
    params = preset_params(LITE0, image_size=image_size)
    return export_onnx(build_model(params, 2), params, ["a", "b"], 18)


def activation_spread(model: onnx.ModelProto, groups: Sequence[Group], batches: list[np.ndarray]
                      ) -> list[float]:
    """The largest activation of the widest channel over that of the median one, for each group."""
    names = [group.quantized[-1] for group in groups]
    seen = channel_statistics(model, names, ({INPUT: batch} for batch in batches))
    largest = (np.maximum(-seen[name].lowest, seen[name].highest) for name in names)
    return [round(float(each.max()) / max(float(np.median(each)), TINY), 2) for each in largest]


def spreads(model: onnx.ModelProto, batches: list[np.ndarray]) -> dict[str, list[float]]:
    """Spread of weights, as `profile` has it, and of activations of every group of tensors."""
    groups = find_groups(model)
    return {"weights": [round(float(profile(model, group).max()), 2) for group in groups],
            "activations": activation_spread(model, groups, batches) if groups else []}


def measure_cell(cell: Cell, name: str, base: Calibrated, reference: np.ndarray, run: Run
                 ) -> dict[str, Any]:
    """Accuracy of one cell, and the error of its logits and, for LAYER_CELLS, of its layers."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "cell.onnx"
        session = exact_session()
        write_cell(cell, base, path)
        logits = run.logits_at(path, **session)
        result = {"accuracy": run.accuracy(logits),
                  "same_class": float(np.mean(logits.argmax(axis=1) == reference.argmax(axis=1))),
                  "logits_snr_db": recorded_db(signal_to_noise_db(reference, logits))}
        if name in LAYER_CELLS:
            float_model = onnx.load(base.source)
            result["layers_snr_db"] = [recorded_db(value) for value in output_snr_db(
                float_model, onnx.load(path), run.batches(), activated_outputs(float_model),
                **session)]
    return result


def measure_emulated(cell: Cell, base: Calibrated, run: Run, cpu: str) -> dict[str, float]:
    """Accuracy of one integer model on this CPU, which has VNNI, and on `cpu`, which has not."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "cell.onnx"
        write_cell(cell, base, path)
        found, _ = run_on_both(path, model_input(run.pictures[:], run.params), run.labels, cpu)
    return found


def measure_native(cell: Cell, base: Calibrated, run: Run) -> dict[str, float]:
    """Accuracy of one model with its sums in float, and as integers on this CPU without VNNI."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "cell.onnx"
        write_cell(cell, base, path)
        return compare(run.labels, run.logits_at(path, **EXACT_SUMS), run.logits_at(path))


def measure_twin(twin: dict[str, Any], path: Path, run: Run, save: Callable[[], None],
                 label: str) -> None:
    """Measure the cells that `twin`, the record of the float model at `path`, lacks."""
    missing = {name: cell for name, cell in grid().items() if name not in twin["cells"]}
    if not missing:
        return
    base = Calibrated.of(path, BASE_RECIPE, run.params, run.dataset.view("calibration"))
    reference = run.logits_at(path)
    for name, cell in missing.items():
        twin["cells"][name] = measure_cell(cell, name, base, reference, run)
        save()
        log.info("%s, %d of %d: %s: accuracy %.4f, logits %.1f dB", label, len(twin["cells"]),
                 len(grid()), name, twin["cells"][name]["accuracy"],
                 twin["cells"][name]["logits_snr_db"])


def integer_cells(*, with_dynamic: bool) -> dict[str, Cell]:
    """What could differ by CPU: static cells, and the models of quantize_dynamic."""
    return {name: cell for name, cell in grid().items()
            if (cell.shipped and with_dynamic)
            or (cell.activations == "static" and cell.weights != "float")}


def record_of(name: str, run: Run, content: dict[str, Any]) -> dict[str, Any]:
    """The record `name` of docs/collapse.json, begun where there is none.

    Raises:
        UserError: it is of another model, picture count or machine.
    """
    facts = {**run.facts_here(), "activation": run.params.activation}
    if name in content:
        require_same_facts(DATA, name, content[name], facts)
    return content.setdefault(name, {**facts, "twins": {}, "cut_off": {}})


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("name", nargs="?", help="of the model on the page; none: draw alone")
    parser.add_argument("--run", type=Path, default=Path(), help="folder of the finished run")
    parser.add_argument("--pictures", type=count, default=300, help="of validation, at most")
    parser.add_argument("--emulate", metavar="CPU",
                        help="a CPU of QEMU without VNNI, Haswell say; not needed on such a CPU")
    arguments = parser.parse_args()
    if arguments.emulate:
        if not arguments.name:
            parser.error("--emulate needs the name of a model to measure")
        require_emulator()
    content = measured_before(DATA)
    if arguments.name:
        measure(arguments, content)
    if not content:
        raise UserError(f"{DATA}: no such file; name a model to measure")
    draw(content)


def measure(arguments: argparse.Namespace, content: dict[str, Any]) -> None:
    """Measure what `content` lacks of the run that is named, and write it to docs/collapse.json."""
    run = open_run(arguments.run, arguments.pictures)
    record = record_of(arguments.name, run, content)

    def save() -> None:
        write_json(DATA, content)

    batches, model = run.batches(), onnx.load(run.source)
    published = published_model(run.params.image_size)
    record["published"] = spreads(published, batches)
    wanted = [profile(published, group) for group in find_groups(published)]
    reference = run.logits_at(run.source)
    with TemporaryDirectory() as folder:
        for power in (0.0, *(POWERS if find_groups(model) else ())):
            label = AS_TRAINED if power == 0 else f"spread to the power of {power:g}"
            path = Path(folder) / f"{power:g}.onnx"
            changed = model if power == 0 else widened(model, wanted, power)
            onnx.save(changed, path)
            logits = run.logits_at(path)
            twin = record["twins"].setdefault(label, {"cells": {}})
            twin |= {"power": power, "spread": spreads(changed, batches),
                     "float_logits_change": float(np.abs(logits - reference).max()
                                                  / np.abs(reference).max())}
            measure_twin(twin, path, run, save, f"{arguments.name}, {label}")
    if products_saturate():
        measure_cut_off(record, run, "this CPU", integer_cells(with_dynamic=False),
                        measure_native, save)
    elif cpu := arguments.emulate:
        few = replace(run, positions=evenly(run.positions, EMULATED_PICTURES))
        measure_cut_off(record, few, f"{cpu}, emulated", integer_cells(with_dynamic=True),
                        partial(measure_emulated, cpu=cpu), save)


def measure_cut_off(record: dict[str, Any], run: Run, by: str, cells: dict[str, Cell],
                    measure: Callable[[Cell, Calibrated, Run], dict[str, float]],
                    save: Callable[[], None]) -> None:
    """Measure the cells with and without VNNI that `record` lacks.

    Args:
        by: what cuts off, for the page.
    """
    facts = {"by": by, "images": len(run.positions)}
    if not facts.items() <= record["cut_off"].items():
        record["cut_off"] = {**facts, "cells": {}}
    found = record["cut_off"]["cells"]
    if not (missing := {name: cell for name, cell in cells.items() if name not in found}):
        return
    base = Calibrated.of(run.source, BASE_RECIPE, run.params, run.dataset.view("calibration"))
    for name, cell in missing.items():
        found[name] = measure(cell, base, run)
        save()
        log.info("%s, cut off by %s: accuracy %.4f", name, by, found[name]["cut_off_accuracy"])


if __name__ == "__main__":
    run_stage(main)
