"""CIFAR-10 as published: cifar-10-python.tar.gz with pickled batches of 10,000 pictures.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stages.config.errors import UserError
from stages.data.archives import Archive
from stages.data.listing import Listing

FOLDER = "cifar-10-batches-py"
TRAIN = [f"{FOLDER}/data_batch_{number}" for number in range(1, 6)]
TEST = f"{FOLDER}/test_batch"
META = f"{FOLDER}/batches.meta"
SIDE = 32


class _ByteType:
    """Stands for numpy.dtype, and is unsigned bytes alone."""

    def __init__(self, code: str, *_: Any) -> None:
        if code != "u1":
            raise pickle.UnpicklingError(f"arrays of '{code}' have no place in this file")

    def __setstate__(self, state: Any) -> None:
        """Byte order and padding, which single bytes don't have."""


class _ByteArray:
    """Stands for numpy.ndarray while it is unpickled: NumPy's own takes any type and pointer."""

    def __init__(self, *_: Any) -> None:
        self.values = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, _, is_fortran, raw = state
        content = raw.encode("latin1") if isinstance(raw, str) else raw
        self.values = np.frombuffer(content, np.uint8).reshape(shape,
                                                               order="F" if is_fortran else "C")


def _latin1(text: str, _: str) -> bytes:
    """Stands for _codecs.encode, by which Python 3 pickles bytes at protocol 2."""
    return text.encode("latin1")


ADMITTED = {("numpy.core.multiarray", "_reconstruct"): _ByteArray,
            ("numpy._core.multiarray", "_reconstruct"): _ByteArray,
            ("numpy", "ndarray"): _ByteArray, ("numpy", "dtype"): _ByteType,
            ("_codecs", "encode"): _latin1}


class _ArrayUnpickler(pickle.Unpickler):
    """Builds plain containers and arrays of bytes; any other global ends the load."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in this file")
        return ADMITTED[module, name]


def load_batch(content: bytes, name: str) -> dict[str, Any]:
    """Unpickle one batch file.

    Raises:
        UserError: not a pickle of a dictionary of plain values and arrays of bytes.
    """
    try:
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, KeyError,
            IndexError, ImportError, MemoryError, OverflowError) as error:
        raise UserError(f"{name}: can't be unpickled ({error}); the archive is damaged or "
                        "tampered with") from None
    if not isinstance(batch, dict):
        raise UserError(f"{name}: holds no dictionary; the archive is damaged or tampered with")
    return {key: value.values if isinstance(value, _ByteArray) else value
            for key, value in batch.items()}


def read_cifar10(path: Path) -> Listing:
    """Read the published archive; its hash has been checked by `download`.

    Raises:
        UserError: a batch is missing or malformed.
    """
    wanted = {name: position for position, name in enumerate([*TRAIN, TEST, META])}
    batches = {name: load_batch(content, name) for _, name, content in Archive(path).read(wanted)}
    if missing := [name for name in wanted if name not in batches]:
        raise UserError(f"{path}: lacks {', '.join(missing)}; is it cifar-10-python.tar.gz?")
    try:
        labels = [np.asarray(batches[name]["labels"], dtype=np.int64) for name in [*TRAIN, TEST]]
        planes = [np.asarray(batches[name]["data"], dtype=np.uint8).reshape(-1, 3, SIDE, SIDE)
                  for name in [*TRAIN, TEST]]
        classes = [str(name) for name in batches[META]["label_names"]]
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{path}: a batch is malformed ({error}); fetch it again") from None
    if any(a.shape != (len(b),) for a, b in zip(labels, planes, strict=True)):
        raise UserError(f"{path}: labels and pictures differ in number; fetch it again")
    if not set(np.concatenate(labels).tolist()) <= set(range(len(classes))):
        raise UserError(f"{path}: a label is none of the {len(classes)} classes; fetch it again")
    is_test = np.concatenate([np.full(len(part), name == TEST)
                              for name, part in zip([*TRAIN, TEST], labels, strict=True)])
    return Listing(classes, np.concatenate(labels), is_test, _pictures(planes))


def _pictures(planes: list[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    position = 0
    for part in planes:
        for picture in part.transpose(0, 2, 3, 1):
            yield position, picture
            position += 1
