"""Dividing a data set: train, validation, test, and calibration held out of train."""

import hashlib
import logging
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import train_test_split

from stages.config.errors import UserError
from stages.data.dataset import SPLIT_NAMES

log = logging.getLogger(__name__)

SIZE_KEYS = {"test": "data.test_fraction", "validation": "data.validation_fraction",
             "calibration": "data.calibration_size"}


def split(labels: np.ndarray, is_test: np.ndarray | None, classes: list[str], *,
          validation_fraction: float, test_fraction: float, calibration_size: int, seed: int
          ) -> dict[str, np.ndarray]:
    """Divide positions 0..N-1 into disjoint, stratified splits.

    Args:
        labels: int64, shape (N,).
        is_test: bool, shape (N,), when the data set brings its test split; with None a share
            `test_fraction` of all is taken.
        validation_fraction: share of what is not test.
        calibration_size: pictures held out of train, which the model is never trained on. Their
            labels are not used, so that rare classes may be absent.

    Returns:
        Sorted int64 positions by split name.

    Raises:
        UserError: a class has too few pictures to stand in every other split.
    """
    positions = np.arange(len(labels))
    if is_test is None:
        rest, test = _draw(positions, labels, round(test_fraction * len(labels)), "test",
                           classes, seed)
    else:
        rest, test = positions[~is_test], positions[is_test]
    rest, validation = _draw(rest, labels, round(validation_fraction * len(rest)), "validation",
                             classes, seed)
    train, calibration = _draw(rest, labels, calibration_size, "calibration", classes, seed)
    if absent := _absent(labels[test], classes):
        raise UserError(f"class '{classes[absent[0]]}' has no picture in the test split that the "
                        "data set brings; add some, or leave the class out")
    parts = (train, validation, test, calibration)
    return {name: np.sort(part) for name, part in zip(SPLIT_NAMES, parts, strict=True)}


def check_copies(images: np.ndarray, splits: dict[str, np.ndarray], names: Sequence[str] = ()
                 ) -> None:
    """Hold calibration apart from the test split by content too: archives hold copies.

    Copies of test pictures in train or validation, which flatter every accuracy, are warned of.

    Args:
        images: uint8, shape (N, H, W, 3), as decoded, read one by one.
        names: of the pictures, to tell of; without them they are numbered.

    Raises:
        UserError: a calibration picture is in the test split too.
    """
    of_test = {_digest(images[position]): position for position in splits["test"]}
    for split_name in ("calibration", "train", "validation"):
        copies = [(position, of_test[digest]) for position in splits[split_name]
                  if (digest := _digest(images[position])) in of_test]
        if not copies:
            continue
        one, other = (names[position] if names else f"picture {position}"
                      for position in copies[0])
        told = (f"{len(copies)} of {len(splits[split_name])} {split_name} pictures are in the "
                f"test split too (the first, {one}, decodes to the same as {other})")
        if split_name == "calibration":
            raise UserError(f"{told}; remove the copies from the source, or change data.seed")
        log.warning("%s: accuracy on it is flattered", told)


def _digest(picture: np.ndarray) -> bytes:
    return hashlib.blake2b(picture.tobytes(), digest_size=16).digest()


def _draw(pool: np.ndarray, labels: np.ndarray, size: int, name: str, classes: list[str],
          seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Part `pool` into what is left and a stratified draw of `size`."""
    counts = np.bincount(labels[pool], minlength=len(classes))
    if counts.min() < 2:
        raise UserError(f"class '{classes[counts.argmin()]}' has {counts.min()} pictures left for "
                        f"train and {name}; it needs 2 or more: add pictures or take smaller "
                        "splits")
    key, reads_labels = SIZE_KEYS[name], name != "calibration"
    enough = size >= len(classes)
    if reads_labels and not enough:
        raise UserError(f"split '{name}' would have {size} pictures for {len(classes)} classes; "
                        f"raise {key} or add pictures")
    if len(pool) - size < len(classes):
        raise UserError(f"split '{name}' wants {size} of {len(pool)} pictures, which leaves too "
                        f"few to train on; lower {key} or add pictures")
    rest, drawn = train_test_split(pool, test_size=size, random_state=seed,
                                   stratify=labels[pool] if enough else None)
    complete = [(rest, "what is left to train on", "lower")]
    if reads_labels:
        complete.append((drawn, f"split '{name}'", "raise"))
    for part, where, change in complete:
        if absent := _absent(labels[part], classes):
            raise UserError(f"class '{classes[absent[0]]}' has too few pictures "
                            f"({counts[absent[0]]}) to stand in {where}; add pictures or "
                            f"{change} {key}")
    return rest, drawn


def _absent(labels: np.ndarray, classes: list[str]) -> list[int]:
    return sorted(set(range(len(classes))) - set(labels.tolist()))
