"""What a depthwise convolution of EfficientNet-Lite0 takes to train: PyTorch's, and the stage's.

    python -m benchmarks.depthwise_backward [--rounds 20]

Each layer's forward and backward pass at 224 pixels with 32 pictures, in float32 and, where the
CPU has it, bfloat16. Rounds run both ways in random order. Raw data goes to
docs/depthwise_backward.json, by CPU, the tables to docs/training.md.
"""

import argparse
import random
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from benchmarks.arguments import count
from benchmarks.raw_data import measured_before
from stages.config.stage import run_stage
from stages.files.atomic import write_json
from stages.measurement.system import describe_system
from stages.reporting.blocks import write_block
from stages.reporting.tables import cpu_label
from stages.training.depthwise import FastDepthwise
from stages.training.precision import emulates_bfloat16
from stages.training.process import keep_freed_memory

RAW, PAGE = Path("docs/depthwise_backward.json"), Path("docs/training.md")
BATCH = 32
# (channels, pixels, kernel, stride): those of the network that are trained by the recipe.
LAYERS = ((240, 28, 3, 2), (480, 14, 3, 1), (480, 14, 5, 1), (672, 14, 5, 1), (672, 14, 5, 2),
          (1152, 7, 5, 1), (1152, 7, 3, 1))
WAYS = {"pytorch": nullcontext, "stage": FastDepthwise}


def measure_layer(layer: tuple[int, int, int, int], precision: str, rounds: int
                  ) -> dict[str, Any]:
    """Milliseconds of a forward and backward pass of `layer`, either way, by round."""
    channels, pixels, kernel, stride = layer
    module = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels,
                       bias=False).to(memory_format=torch.channels_last)
    picture = torch.randn(BATCH, channels, pixels, pixels,
                          dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    picture = picture.contiguous(memory_format=torch.channels_last).requires_grad_()
    milliseconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(rounds + 1):
        for way in random.sample(list(WAYS), len(WAYS)):
            began = time.perf_counter()
            with WAYS[way](), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                output = module(picture)
            output.backward(torch.ones_like(output))
            if number:  # the first one warms up
                milliseconds[way].append(round((time.perf_counter() - began) * 1e3, 3))
            picture.grad = module.weight.grad = None
    return {"channels": channels, "pixels": pixels, "kernel": kernel, "stride": stride,
            "precision": precision, "milliseconds": milliseconds}


def told(runs: dict[str, dict]) -> str:
    """The page's block: a table for each CPU."""
    return "\n".join(map(_told, runs.values()))


def _told(run: dict) -> str:
    """What was measured on what, and the table."""
    system = run["system"]
    lines = [f"Batches of {BATCH}, {len(run['layers'][0]['milliseconds']['stage'])} rounds; "
             f"{cpu_label(system['cpu'])}, {system['cpu']['threads_used']} threads; "
             f"torch {system['packages']['torch']}.", "",
             "| channels | pixels | kernel, stride | precision | PyTorch, ms (least to most) "
             "| train stage, ms (least to most) |",
             "| --- | --- | --- | --- | --- | --- |"]
    for layer in run["layers"]:
        times = " | ".join(f"{median(each):.1f} ({min(each):.1f} to {max(each):.1f})"
                           for each in layer["milliseconds"].values())
        lines.append(f"| {layer['channels']} | {layer['pixels']} | {layer['kernel']} by "
                     f"{layer['kernel']}, {layer['stride']} | {layer['precision']} | {times} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=count, default=20)
    arguments = parser.parse_args()
    keep_freed_memory()
    layers = [measure_layer(layer, precision, arguments.rounds)
              for precision in (["fp32"] if emulates_bfloat16() else ["fp32", "bf16"])
              for layer in LAYERS]
    system = describe_system()
    runs = measured_before(RAW)
    runs[cpu_label(system["cpu"])] = {"system": system, "layers": layers}
    write_json(RAW, runs)
    block = told(runs)
    write_block(PAGE, "depthwise", block)
    print(block)


if __name__ == "__main__":
    run_stage(main)
