"""What every reader of an archive hands to `prepare`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass
class Listing:
    """The pictures of a data set, listed before they are decoded.

    classes: class names; a label is an index into them.
    labels: int64, shape (N,).
    is_test: bool, shape (N,), for a data set that comes with a test split; None otherwise.
    pictures: yields (position, picture) once for each of the N, in any order, the picture being
        uint8 RGB of shape (resolution, resolution, 3).
    names: of the N pictures' files, if each is one.
    """

    classes: list[str]
    labels: np.ndarray
    is_test: np.ndarray | None
    pictures: Iterator[tuple[int, np.ndarray]]
    names: Sequence[str] = ()
