"""What it costs a classifier that the files of cifar10_jpeg are JPEG.

    python -m benchmarks.jpeg_cost --jpeg FOLDER --lossless FOLDER [--seeds 2]

In either folder `dvc repro prepare` has run, for the same pictures in the same order: those of
cifar10_jpeg, and the same as published (benchmarks.cifar10_as_png). Short trainings by the recipe
of `experiment=cifar10`, one on either kind from each seed, are tested on pictures of both kinds,
of the validation split and not those that chose the epoch. Raw data goes to docs/jpeg_cost.json,
the table to docs/training.md, after each seed.
"""

import logging
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks.arguments import count
from benchmarks.markdown import markdown_table
from benchmarks.presets import cifar10_params
from benchmarks.raw_data import cpu_and_threads, publish
from stages.config.command_line import command_line
from stages.config.errors import UserError
from stages.config.stage import run_stage
from stages.data.dataset import (
    IMAGES_FILE,
    SPLITS_FILE,
    Dataset,
    evenly,
    load_dataset,
)
from stages.inference.predictor import predict
from stages.measurement.accuracy import Comparison, compare
from stages.measurement.system import describe_system
from stages.model.build import build_model
from stages.training.loop import train
from stages.training.process import (
    compute_deterministically,
    keep_freed_memory,
    use_own_cores,
)

log = logging.getLogger(__name__)

RAW, PAGE = Path("docs/jpeg_cost.json"), Path("docs/training.md")
SIZE, EPOCHS, PICTURES, TESTED = 128, 3, 5000, 2000
JUDGED = "judged"  # the split that the models are tested on
EMA_DECAY = 0.98  # averages over fifty steps of 234; the experiment's 0.999 suits 5,560
NAMES = {"jpeg": "JPEG", "lossless": "lossless"}


def open_pair(folders: dict[str, Path]) -> dict[str, Dataset]:
    """The prepared pictures of either kind, with the splits that are trained and tested on.

    Raises:
        UserError: they are not the same pictures in the same order, by class and split.
    """
    pair = {kind: load_dataset(folder / IMAGES_FILE, folder / SPLITS_FILE)
            for kind, folder in folders.items()}
    first, second = pair.values()
    if not (first.images.shape == second.images.shape
            and np.array_equal(first.labels, second.labels)
            and all(np.array_equal(first.splits[name], second.splits[name])
                    for name in ("train", "validation"))):
        raise UserError(f"{' and '.join(map(str, folders.values()))}: hold other pictures, or "
                        "other splits; prepare both with the same data.seed and sizes")
    for dataset in pair.values():
        dataset.splits["train"] = evenly(dataset.splits["train"], PICTURES)
        positions = evenly(dataset.splits["validation"], 2 * TESTED)
        dataset.splits["validation"], dataset.splits[JUDGED] = positions[::2], positions[1::2]
    return pair


def grey_levels_off(pair: dict[str, Dataset]) -> float:
    """Mean absolute difference of the pictures tested on, one kind from the other, of 255."""
    first, second = (dataset.view(JUDGED)[:].astype(np.int16) for dataset in pair.values())
    return float(np.abs(first - second).mean())


def train_short(dataset: Dataset, seed: int, tested: dict[str, Dataset]
                ) -> tuple[float, dict[str, np.ndarray]]:
    """Train from `seed`: accuracy on the pictures of the last epoch, and classes of those tested.

    The second is int64, (n,), by kind of the pictures.
    """
    params = cifar10_params(SIZE, epochs=EPOCHS, ema_decay=EMA_DECAY, seed=seed)
    torch.manual_seed(seed)
    model = build_model(params.model, len(dataset.classes))
    with TemporaryDirectory() as folder, chdir(folder):  # where training keeps its state
        history = train(model, dataset, params, run="jpeg_cost")
    # Another one: where training was in bfloat16, accelerate has left that in the first.
    tested_model = build_model(params.model, len(dataset.classes), pretrained=False).eval()
    tested_model.load_state_dict(model.state_dict())

    def predictor(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return tested_model(torch.from_numpy(batch)).numpy()

    return history.epochs[-1]["train.accuracy"], {
        kind: predict(predictor, other.view(JUDGED), params.model).argmax(axis=1)
        for kind, other in tested.items()}


def measure(pair: dict[str, Dataset], seed: int) -> dict[str, Any]:
    """Train on either kind from `seed`.

    Returns:
        by kind trained on, `train_accuracy`, and `accuracy` by kind tested on, fractions; `lost`
        and `gained`: pictures that one model has right and the other not, each trained and tested
        on its own kind, JPEG's against the other's.
    """
    labels = pair["jpeg"].labels_of(JUDGED)
    record, predicted = {}, {}
    for kind, dataset in pair.items():
        train_accuracy, found = train_short(dataset, seed, pair)
        record[kind] = {"train_accuracy": train_accuracy, "accuracy": {
            tested: float((classes == labels).mean()) for tested, classes in found.items()}}
        predicted[kind] = found[kind]
        log.info("seed %d, trained on %s: %s", seed, kind, record[kind])
    against = compare(labels, predicted["lossless"], predicted["jpeg"])
    return {**record, "lost": against.lost, "gained": against.gained}


def told(content: dict[str, Any]) -> str:
    """The table, mean (least to most) of the seeds, and the cost by seed, in Markdown."""
    seeds, images = content["seeds"], content["tested_images"]

    def percent(fractions: list[float]) -> str:
        mean, low, high = (f"{100 * value:.1f}" for value in (
            np.mean(fractions), min(fractions), max(fractions)))
        return f"{mean} %" if len(fractions) == 1 else f"{mean} % ({low} to {high})"

    table = markdown_table(
        ("trained on", "training, last epoch", "tested on JPEG", "tested on lossless"),
        [(NAMES[kind], percent([seed[kind]["train_accuracy"] for seed in seeds]),
          *(percent([seed[kind]["accuracy"][tested] for seed in seeds]) for tested in NAMES))
         for kind in NAMES])
    drops = [Comparison(images, lost=seed["lost"], gained=seed["gained"], flipped=0)
             for seed in seeds]
    costs = "; ".join(f"{drop.drop_pp:.1f} ({low:.1f} to {high:.1f})" for drop in drops
                      for low, high in [drop.drop_interval_pp()])
    return (
        f"{content['train_images']:,} training pictures, {images:,} of validation to test on, "
        f"{content['image_size']} px, {content['epochs']} epochs, seeds: {len(seeds)}; "
        f"{cpu_and_threads(content['system'])}; torch "
        f"{content['system']['packages']['torch']}.\n\n{table}\n\n"
        "Each tested on its own kind, JPEG costs so many points, by seed (paired 95 % interval): "
        f"{costs}. It changes a pixel's value by {content['grey_levels_off']:.1f} of 255 on "
        "average.")


def main() -> None:
    parser = command_line(__doc__)
    for kind in NAMES:
        parser.add_argument(f"--{kind}", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seeds", type=count, default=2)
    arguments = parser.parse_args()
    pair = open_pair({kind: getattr(arguments, kind) for kind in NAMES})
    keep_freed_memory()
    use_own_cores()
    compute_deterministically()
    content = {"train_images": len(pair["jpeg"].splits["train"]), "image_size": SIZE,
               "epochs": EPOCHS, "tested_images": len(pair["jpeg"].splits[JUDGED]),
               "grey_levels_off": grey_levels_off(pair), "system": describe_system(), "seeds": []}
    for seed in range(arguments.seeds):
        content["seeds"].append(measure(pair, seed))
        text = publish(RAW, PAGE, "jpeg cost", content, told)
    print(text)


if __name__ == "__main__":
    run_stage(main)
