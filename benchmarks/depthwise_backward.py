"""What a depthwise convolution of EfficientNet-Lite0 takes to train: PyTorch's, and the stage's.

    python -m benchmarks.depthwise_backward [--rounds 20]

Each layer's forward and backward pass at 224 pixels with 32 pictures, in float32 and, where the
CPU has it, bfloat16. Rounds run both ways in random order, each once before it is timed. Raw data
goes to docs/depthwise_backward.json, by CPU, the tables to docs/training.md.
"""

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from benchmarks.arguments import only_count
from benchmarks.markdown import markdown_table
from benchmarks.raw_data import cpu_and_threads, publish_by_cpu
from benchmarks.rounds import milliseconds
from stages.config.stage import run_stage
from stages.training.depthwise import FastDepthwise
from stages.training.precision import cpu_emulates_bfloat16
from stages.training.process import keep_freed_memory, use_own_cores

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

    def train(way: str, _: int) -> None:
        with WAYS[way](), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            output = module(picture)
        output.backward(torch.ones_like(output))
        picture.grad = module.weight.grad = None

    return {"channels": channels, "pixels": pixels, "kernel": kernel, "stride": stride,
            "precision": precision,
            "milliseconds": milliseconds({way: partial(train, way) for way in WAYS}, rounds)}


def told(run: dict[str, Any]) -> str:
    """What was measured on what, and the table."""
    system = run["system"]
    table = markdown_table(
        ("channels", "pixels", "kernel, stride", "precision", "PyTorch, ms (least to most)",
         "train stage, ms (least to most)"),
        [(layer["channels"], layer["pixels"],
          f"{layer['kernel']} by {layer['kernel']}, {layer['stride']}", layer["precision"],
          *(f"{median(each):.1f} ({min(each):.1f} to {max(each):.1f})"
            for each in layer["milliseconds"].values())) for layer in run["layers"]])
    return (f"Batches of {BATCH}, {len(run['layers'][0]['milliseconds']['stage'])} rounds; "
            f"{cpu_and_threads(system)}; torch {system['packages']['torch']}.\n\n{table}")


def main() -> None:
    rounds = only_count(__doc__, "--rounds", 20)
    keep_freed_memory()
    use_own_cores()
    precisions = ["fp32"] if cpu_emulates_bfloat16() else ["fp32", "bf16"]
    print(publish_by_cpu(RAW, PAGE, "depthwise", lambda: {
        "layers": [measure_layer(layer, precision, rounds)
                   for precision in precisions for layer in LAYERS]}, told))


if __name__ == "__main__":
    run_stage(main)
