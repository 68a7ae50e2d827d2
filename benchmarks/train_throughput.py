"""Pictures a second in training: the train stage against the loops one writes first.

    python -m benchmarks.train_throughput [--rounds 3]

Every loop trains the same model on the same pictures (those that `dvc repro prepare` left), in a
process of its own, for an epoch to warm up and one that is timed. Rounds run all loops in random
order, on the CPU. Raw data goes to docs/train_throughput.json, by CPU, the tables to
docs/training.md.
"""

import argparse
import json
import logging
import random
import time
from contextlib import chdir
from functools import partial as bind
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

from benchmarks.arguments import count
from benchmarks.child import run_module
from benchmarks.markdown import markdown_table
from benchmarks.presets import LITE0, cifar10_params, preset_params
from benchmarks.raw_data import cpu_and_threads, publish_by_cpu
from stages.config.command_line import command_line
from stages.config.errors import UserError
from stages.config.stage import run_stage
from stages.data.dataset import SPLITS_FILE, Dataset, load_dataset
from stages.model.build import build_model
from stages.model.preprocess import preprocess
from stages.training.loop import train
from stages.training.process import (
    compute_deterministically,
    keep_freed_memory,
    use_own_cores,
)

log = logging.getLogger(__name__)

RAW, PAGE = Path("docs/train_throughput.json"), Path("docs/training.md")
STEPS = 10
LR = 1e-4
# (loop, picture size, batch); the first of a size is what the others are compared with.
LOOPS = (("newcomer", 224, 32), ("train stage", 224, 32), ("train stage, frozen", 224, 32),
         ("channels_last, fp32, pictures in memory", 128, 64), ("train stage", 128, 64),
         ("train stage, frozen", 128, 64))


def timed_epochs(model: nn.Module, loader: DataLoader) -> float:
    """Train for two epochs by the plain loop; images a second in the second one."""
    optimizer, criterion = torch.optim.AdamW(model.parameters(), LR), nn.CrossEntropyLoss()
    model.train()
    for _ in range(2):
        began, seen = time.perf_counter(), 0
        for pictures, labels in loader:
            loss = criterion(model(pictures), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(labels)
    return seen / (time.perf_counter() - began)


def newcomer(dataset: Dataset, size: int, batch: int) -> float:
    """Files, PIL's resize and normalization picture by picture; contiguous, float32."""
    params = preset_params(LITE0, image_size=size)
    positions = dataset.splits["train"][:STEPS * batch]
    for position in positions:
        path = Path(str(dataset.labels[position]), f"{position}.jpg")
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(dataset.images[position]).save(path)
    transform = Compose([Resize((size, size)), ToTensor(), Normalize(params.mean, params.std)])
    return timed_epochs(build_model(params, len(dataset.classes)),
                        DataLoader(ImageFolder(".", transform), batch, shuffle=True))


def in_memory(dataset: Dataset, size: int, batch: int) -> float:
    """All pictures resized beforehand; channels last, float32, the allocator as it comes."""
    params = preset_params(LITE0, image_size=size)
    positions = dataset.splits["train"][:STEPS * batch]
    pictures = preprocess(torch.from_numpy(dataset.images[positions]), size, params.mean,
                          params.std)
    model = build_model(params, len(dataset.classes)).to(memory_format=torch.channels_last)
    return timed_epochs(model, DataLoader(
        TensorDataset(pictures, torch.from_numpy(dataset.labels[positions])), batch, shuffle=True))


def train_stage(dataset: Dataset, size: int, batch: int, **changes: Any) -> float:
    """What the train stage runs, augmentation and averaging of weights included.

    Args:
        changes: of the recipe, by key.
    """
    dataset.splits["train"] = dataset.splits["train"][:STEPS * batch]
    dataset.splits["validation"] = dataset.splits["validation"][:2]
    params = cifar10_params(size, epochs=2, batch_size=batch, lr=LR, **changes)
    keep_freed_memory()
    compute_deterministically()
    history = train(build_model(params.model, len(dataset.classes)), dataset, params, "benchmark")
    return history.images[1] / history.step_seconds[1]


FUNCTIONS = {"newcomer": newcomer, "train stage": bind(train_stage, frozen=[]),
             "train stage, frozen": train_stage,
             "channels_last, fp32, pictures in memory": in_memory}


def require_what_loops_take(dataset: Dataset) -> None:
    """Raises UserError where the train stage would leave the CPU, or refuse these pictures."""
    if torch.accelerator.is_available():
        raise UserError("the loops are to be compared on the CPU, and the train stage takes the "
                        "GPU that is here; hide it, as by CUDA_VISIBLE_DEVICES=")
    _, sizes, batches = zip(*LOOPS, strict=True)
    needed, side = STEPS * max(batches), cifar10_params(max(sizes)).train.cutout
    found, height = len(dataset.splits["train"]), dataset.images.shape[1]
    if found < needed or height < side:
        raise UserError(f"{SPLITS_FILE}: has {found} training pictures of {height} pixels, the "
                        f"loops take {needed} of {side} or more; run 'dvc exp run -S "
                        "experiment=cifar10 prepare'")


def measure_all(rounds: int) -> list[dict]:
    """Run every loop once a round, each in a process and a folder of its own."""
    results = [{"loop": name, "image_size": size, "batch_size": batch, "images_per_second": []}
               for name, size, batch in LOOPS]
    order = random.Random(0)
    for number in range(rounds):
        for result in order.sample(results, len(results)):
            printed = run_module("benchmarks.train_throughput", "--loop", result["loop"],
                                 "--size", str(result["image_size"]),
                                 "--batch", str(result["batch_size"]))
            speed = json.loads(printed.splitlines()[-1])
            result["images_per_second"].append(speed)
            log.info("round %d: %s at %d px, %.1f images/s", number + 1, result["loop"],
                     result["image_size"], speed)
    return results


def table(results: list[dict]) -> str:
    """The median of every loop, with its range, and its ratio to the first of the same size."""
    rows = []
    for result in results:
        base = next(each for each in results if each["image_size"] == result["image_size"])
        speeds = np.array(result["images_per_second"])
        ratios = speeds / np.array(base["images_per_second"])
        rows.append((result["loop"], result["image_size"], result["batch_size"],
                     f"{median(speeds):.1f} ({speeds.min():.1f} to {speeds.max():.1f})",
                     f"{median(ratios):.2f}× ({ratios.min():.2f} to {ratios.max():.2f})"))
    return markdown_table(("loop", "pixels", "batch", "images/s, median (least to most)",
                           "ratio by round"), rows)


def told(run: dict[str, Any]) -> str:
    """What was measured on what, and the table."""
    system, rounds = run["system"], len(run["loops"][0]["images_per_second"])
    return (f"{run['dataset']}, {LITE0}, {run['steps']} steps a run, {rounds} rounds; "
            f"{cpu_and_threads(system)}; torch {system['packages']['torch']}.\n\n"
            f"{table(run['loops'])}")


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--rounds", type=count, default=3)
    parser.add_argument("--loop", choices=FUNCTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    dataset = load_dataset()
    if arguments.loop:
        use_own_cores()
        with TemporaryDirectory() as folder, chdir(folder):
            print(json.dumps(FUNCTIONS[arguments.loop](dataset, arguments.size, arguments.batch)))
        return
    require_what_loops_take(dataset)
    print(publish_by_cpu(RAW, PAGE, "throughput", lambda: {
        "dataset": dataset.name, "steps": STEPS, "loops": measure_all(arguments.rounds)}, told))


if __name__ == "__main__":
    run_stage(main)
