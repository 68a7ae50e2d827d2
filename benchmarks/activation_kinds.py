"""Which activations can't be rounded: one kind of tensor at a time, all else in float.

    python -m benchmarks.activation_kinds NAME [--run FOLDER]

A kind is what writes a tensor and what reads it: Conv > Mul, Sigmoid is what SiLU reads. Each is
rounded to 256 steps between the least and the largest value that the calibration pictures give it,
and all together once more with what SiLU reads cut off where that is flat. Raw data goes to
docs/activation_kinds.json, the tables to docs/collapse.md.
"""

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.finished_run import Run, heading, measure_named, told_by_name
from benchmarks.markdown import markdown_table
from benchmarks.raw_data import recorded_db
from stages.config.stage import run_stage
from stages.measurement.noise import signal_to_noise_db
from stages.onnx_graph.layers import weighted_layers
from stages.onnx_graph.readers import readers_of
from stages.quantization.calibration import calibrate
from stages.quantization.flat_tails import cut_flat_tails
from stages.quantization.float_island import with_float_islands
from stages.quantization.narrowing import with_rounded
from stages.quantization.ranges import ACTIVATION_LEVELS, Range
from stages.quantization.static import feeds_of

RAW, PAGE = Path("docs/activation_kinds.json"), Path("docs/collapse.md")
SKIPPED = ("Reshape", "Flatten")  # which write what they read
# What reads a convolution's output and becomes part of it, so that in an INT8 model there is no
# such tensor. Its row tells what would be if there were one.
FOLDED = ("Clip", "Relu")


def kinds_of(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Tensors between the nodes of `model` by kind, in the order of the graph."""
    readers, kinds = readers_of(model.graph), defaultdict(list)
    for node in model.graph.node:
        name = node.output[0]
        if node.op_type not in SKIPPED and name in readers:
            read_by = sorted({reader.op_type for reader in readers[name]})
            kinds[f"{node.op_type} > {', '.join(read_by)}"].append(name)
    return kinds


def with_rounded_ranges(model: onnx.ModelProto, names: Iterable[str], ranges: dict[str, Range]
                        ) -> onnx.ModelProto:
    """A copy of `model` that rounds the tensors `names` to ACTIVATION_LEVELS steps of their ranges.

    Layers stay in float, weights too.
    """
    parameters = {name: (f"{name}_step", f"{name}_zero") for name in names}
    result = with_rounded(model, parameters)
    for name, keys in parameters.items():
        lowest, highest = min(ranges[name][0], 0), max(ranges[name][1], 0)
        step = np.float32((highest - lowest) / (ACTIVATION_LEVELS - 1)) or np.float32(1)
        values = step, np.uint8(np.round(-lowest / step))
        result.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), key)
                                        for key, value in zip(keys, values, strict=True))
    return with_float_islands(result, [node.name for node, _ in weighted_layers(model)])


def measure(run: Run) -> dict[str, Any]:
    """Signal-to-noise ratio of the logits, in dB, and accuracy, by what is rounded."""
    model = onnx.load(run.source)
    ranges = calibrate(model, "minmax",
                       feeds_of(run.dataset.view("calibration"), run.params))
    # Tensors beside none but operators that ONNX Runtime does not quantize have no range.
    kinds = {kind: known for kind, names in kinds_of(model).items()
             if (known := [name for name in names if name in ranges])}
    everything = [name for kind, names in kinds.items()
                  if kind.partition(" > ")[2] not in FOLDED for name in names]
    reference = run.logits(model)

    def row(names: list[str], ranges: dict[str, Range]) -> dict[str, Any]:
        logits = run.logits(with_rounded_ranges(model, names, ranges))
        return {"tensors": len(names), "lowest": float(min(ranges[name][0] for name in names)),
                "highest": float(max(ranges[name][1] for name in names)),
                "logits_snr_db": recorded_db(signal_to_noise_db(reference, logits)),
                "accuracy": run.accuracy(logits)}

    return {**run.facts(), "float_accuracy": run.accuracy(reference),
            "rounded": {"all": row(everything, ranges),
                        "all, flat tails cut": row(everything, cut_flat_tails(model, ranges)),
                        **{kind: row(names, ranges) for kind, names in kinds.items()}}}


def table(name: str, record: dict[str, Any]) -> str:
    """One model's table in Markdown, the worst kind first."""
    rows = sorted(record["rounded"].items(), key=lambda each: each[1]["logits_snr_db"])
    shown = markdown_table(
        ("rounded", "tensors", "least to largest value", "logits against float", "accuracy"),
        [(kind, row["tensors"], f"{row['lowest']:.1f} to {row['highest']:.1f}",
          f"{row['logits_snr_db']:.1f} dB", f"{100 * row['accuracy']:.1f} %")
         for kind, row in rows])
    return f"{heading(name, record)}\n\n{shown}"


told = partial(told_by_name, table)  # the page's block


def main() -> None:
    measure_named(__doc__, RAW, PAGE, "kinds", measure, told)


if __name__ == "__main__":
    run_stage(main)
