"""The prepared data set: one array file of pictures and one file of labels, classes and splits."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.config.errors import UserError
from stages.data.listing import Listing
from stages.files.atomic import write_json

IMAGES_FILE = Path("data/images.npy")
SPLITS_FILE = Path("data/splits.json")
SPLIT_NAMES = ("train", "validation", "test", "calibration")


@dataclass
class PictureView(Sequence):
    """The pictures of `images` at `positions`, read as they are sliced."""

    images: np.ndarray
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        return self.images[self.positions[index]]


@dataclass
class Dataset:
    """The prepared pictures with their splits.

    images: uint8 RGB, shape (N, H, W, 3), mapped from disk and not read before it is indexed.
    labels: int64, shape (N,).
    splits: positions by split name.
    """

    name: str
    classes: list[str]
    images: np.ndarray
    labels: np.ndarray
    splits: dict[str, np.ndarray]

    def view(self, split: str) -> PictureView:
        """The pictures of `split`, of which only what is sliced is read into memory."""
        return PictureView(self.images, self.splits[split])

    def some(self, split: str, count: int) -> PictureView:
        """At most `count` pictures of `split`, evenly spaced; its positions are those in images."""
        return PictureView(self.images, evenly(self.splits[split], count))

    def labels_of(self, split: str) -> np.ndarray:
        """The labels of `split`: int64, shape (n,)."""
        return self.labels[self.splits[split]]


def write_images(listing: Listing, resolution: int, path: Path) -> None:
    """Decode the pictures of `listing` into an array file at `path`, one at a time.

    Raises:
        UserError: the listing's pictures have another size than `resolution`.
    """
    shape = (len(listing.labels), resolution, resolution, 3)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # on a full disk, writing to the map would kill
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    for position, picture in listing.pictures:
        if picture.shape != shape[1:]:
            raise UserError(f"data.resolution: got {resolution}, but these pictures come as "
                            f"{picture.shape[0]} by {picture.shape[1]}")
        array[position] = picture
    array.flush()


def write_splits(name: str, listing: Listing, splits: dict[str, np.ndarray],
                 path: Path = SPLITS_FILE) -> None:
    """Write the data set's name, class names, labels and splits."""
    write_json(path, {"name": name, "classes": listing.classes,
                      "labels": listing.labels.tolist(),
                      "splits": {key: part.tolist() for key, part in splits.items()}})


def load_dataset(images: Path = IMAGES_FILE, splits: Path = SPLITS_FILE) -> Dataset:
    """Open what `prepare` wrote.

    Raises:
        UserError: a file is missing, or is not what `prepare` wrote.
    """
    for path in (images, splits):
        if not path.is_file():
            raise UserError(f"{path}: no such file; run 'dvc repro prepare'")
    try:
        content = json.loads(splits.read_text(encoding="utf-8"))
        dataset = Dataset(
            name=content["name"], classes=content["classes"],
            images=np.load(images, mmap_mode="r"),
            labels=np.array(content["labels"], dtype=np.int64),
            splits={key: np.array(part, np.int64) for key, part in content["splits"].items()})
        whole = (dataset.images.dtype == np.uint8 and dataset.images.ndim == 4
                 and dataset.images.shape[3] == 3
                 and dataset.labels.shape == dataset.images.shape[:1]
                 and 0 <= dataset.labels.min() <= dataset.labels.max() < len(dataset.classes)
                 and dataset.splits.keys() == set(SPLIT_NAMES)
                 and all(len(part) and 0 <= part.min() <= part.max() < len(dataset.labels)
                         for part in dataset.splits.values()))
    except (ValueError, KeyError, TypeError, AttributeError, EOFError):
        whole = False
    if not whole:
        raise UserError(f"{images} or {splits}: damaged, or not written by prepare; run "
                        "'dvc repro --force prepare'")
    return dataset


def evenly(items: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of `items`, evenly spaced: splits are sorted, often by class."""
    return items[np.linspace(0, len(items) - 1, min(count, len(items))).astype(int)]
