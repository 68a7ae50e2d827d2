"""What each layer costs in INT8: noise and accuracy when it alone is quantized, and its time.

    python -m benchmarks.layer_sensitivity NAME [--run FOLDER] [--pictures N]

A layer is that of the search for mixed precision (stages/quantization/sensitivity.py), quantized by
the recipe of int8_mixed with its weights rounded to the nearest. Its time is that of its nodes, for
one picture, by ONNX Runtime's profiler, in the float model and in the one with all layers
quantized. Raw data goes to docs/layer_sensitivity.json, the tables to docs/precision.md.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import pandas as pd
from omegaconf import OmegaConf

from benchmarks.finished_run import (
    LAYER_PICTURES,
    Run,
    heading,
    measure_named,
    told_by_name,
)
from benchmarks.markdown import markdown_table
from benchmarks.raw_data import cpu_and_threads, recorded_db
from stages.analysis.layer_error import output_snr_db
from stages.config.params import PARAMS_FILE, load_params
from stages.config.schema import Recipe
from stages.config.stage import run_stage
from stages.data.dataset import PictureView
from stages.inference.predictor import model_input
from stages.measurement.node_time import node_times
from stages.quantization.padded_input import with_padded_input
from stages.quantization.recipe import calibration_positions
from stages.quantization.repeated_gates import with_repeated_gates
from stages.quantization.sensitivity import Layer, layers_of, quantize_only
from stages.quantization.static import Calibrated

RAW, PAGE = Path("docs/layer_sensitivity.json"), Path("docs/precision.md")
TIMED_RUNS = 100
LISTED = 10  # layers of a table, the noisiest
# What ONNX Runtime appends to a node's or a tensor's name where it puts another node in its place.
RENAMED = re.compile(r"_nchwc$|_token_\d+$|_quant$")


def time_by_layer(model: onnx.ModelProto, layers: Sequence[Layer], times: pd.DataFrame
                  ) -> list[float]:
    """Milliseconds of each of `layers`; nodes that belong to none (changes of layout) are not in.

    Args:
        model: that `layers` are of, whose names a model made of it keeps.
        times: of the nodes that are run, as `node_times` has them.
    """
    owners = {name: index for index, layer in enumerate(layers) for node in model.graph.node
              if node.name in layer.nodes for name in (node.name, *node.output)}
    found = [0.0] * len(layers)
    for node, milliseconds in zip(times.node, times.ms, strict=True):
        owner = owners.get(RENAMED.sub("", node))
        if owner is not None:
            found[owner] += milliseconds
    return found


def measure_layers(run: Run, recipe: Recipe) -> dict[str, Any]:
    """Of each layer, quantized alone: noise of its own output and of the logits, accuracy, time."""
    positions = calibration_positions(run.dataset.splits["calibration"], recipe)
    base = Calibrated.of(run.source, recipe, run.params, PictureView(run.dataset.images, positions))
    layers = layers_of(base.model)
    outputs = {node.name: node.output[0] for node in base.model.graph.node}
    reference, batches = run.logits_at(run.source), run.batches()
    with TemporaryDirectory() as folder:
        trial = Path(folder) / "trial.onnx"
        rows = []
        for layer in layers:
            quantize_only(layer, layers, base.write, trial)
            [own] = output_snr_db(base.model, onnx.load(trial), batches,
                                  [outputs[layer.nodes[-1]]])
            rows.append({"layer": layer.weights[0], "macs": layer.macs,
                         "output_snr_db": recorded_db(own),
                         **run.against(reference, run.logits_at(trial))})
        base.write(trial)
        everything = run.against(reference, run.logits_at(trial))
        onnx.save(with_padded_input(with_repeated_gates(onnx.load(trial))), trial)
        picture = model_input(run.pictures[:1], run.params)
        timed = [node_times(path, picture, TIMED_RUNS) for path in (run.source, trial)]
    for key, times in zip(("float_ms", "int8_ms"), timed, strict=True):
        everything[key] = round(float(times.ms.sum()), 4)
        for row, milliseconds in zip(rows, time_by_layer(base.model, layers, times), strict=True):
            row[key] = round(milliseconds, 4)
    return {**run.facts(), "float_accuracy": run.accuracy(reference),
            "recipe": OmegaConf.to_container(OmegaConf.structured(recipe)),
            "timed_runs": TIMED_RUNS, "layers": rows, "all": everything}


def measure(run: Run) -> dict[str, Any]:
    """`measure_layers` by the recipe of int8_mixed that the run's own parameters have."""
    params = run.source.parent.parent / PARAMS_FILE
    return measure_layers(run, load_params("quantize.variants.int8_mixed",
                                           path=params).quantize.variants.int8_mixed)


def cells(name: str, row: dict[str, Any]) -> tuple[object, ...]:
    """A row of the table; without noise where layers are taken together."""
    own, logits = ("" if row.get(key) is None else f"{row[key]:.1f} dB"
                   for key in ("output_snr_db", "logits_snr_db"))
    drop = (f"{row['drop_pp']:+.2f} ({row['drop_low_pp']:+.2f} to {row['drop_high_pp']:+.2f})"
            if "drop_low_pp" in row else f"{row['drop_pp']:+.2f} on average")
    return (name, f"{row['macs'] / 1e6:.1f}", own, logits, drop, row["flipped"],
            f"{row['float_ms']:.2f}", f"{row['int8_ms']:.2f}")


def table(name: str, record: dict[str, Any]) -> str:
    """One model's table in Markdown, the layer whose logits are the noisiest first."""
    rows = pd.DataFrame(record["layers"]).sort_values("logits_snr_db", kind="stable")
    listed, others = rows[:LISTED], rows[LISTED:]
    lines = [cells(f"`{row['layer']}`", row) for row in listed.to_dict("records")]
    if len(others):
        lines.append(cells(f"each of the other {len(others)}", {
            "macs": others.macs.mean(), "drop_pp": others.drop_pp.mean(),
            "flipped": f"{others.flipped.min()} to {others.flipped.max()}",
            "float_ms": others.float_ms.mean(), "int8_ms": others.int8_ms.mean()}))
    lines.append(cells("**all**", {"macs": rows.macs.sum(), **record["all"]}))
    columns = ("quantized", "MACs, M", "its output", "logits", "drop, points (95 %)",
               "predictions changed", "float, ms", "INT8, ms")
    ranks = rows.corr("spearman", numeric_only=True)
    return (f"{heading(name, record)} The noise of a layer's own output is on "
            f"{LAYER_PICTURES} calibration pictures. Times by the profiler, "
            f"{record['timed_runs']} runs of one picture by one model, then by the other: compare "
            f"layers within a model; {cpu_and_threads(record['system'])}.\n\n"
            f"{markdown_table(columns, lines)}\n\n"
            "Rank correlation over all layers: of predictions changed with the noise of the "
            f"logits {-ranks.flipped['logits_snr_db']:.2f}, with the noise of the layer's own "
            f"output {-ranks.flipped['output_snr_db']:.2f}.")


told = partial(told_by_name, table)  # the page's block


def main() -> None:
    measure_named(__doc__, RAW, PAGE, "layers", measure, told)


if __name__ == "__main__":
    run_stage(main)
