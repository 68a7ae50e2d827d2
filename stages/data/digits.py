"""scikit-learn's handwritten digits: 1,797 pictures of 8 by 8, shipped in its wheel.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
"""

import gzip
import warnings
import zlib
from pathlib import Path

import numpy as np

from stages.config.errors import UserError
from stages.data.listing import Listing

SIDE = 8
MAX_GREY = 16


def read_digits(path: Path) -> Listing:
    """Read digits.csv.gz: 64 grey values from 0 to 16 and the label in each row.

    Raises:
        UserError: the file is not such a table.
    """
    try:
        with warnings.catch_warnings(action="ignore"), gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{path}: not the digits table ({error}); fetch it again") from None
    if table.ndim != 2 or table.shape[1] != SIDE * SIDE + 1:
        raise UserError(f"{path}: not the digits table (shape {table.shape}); fetch it again")
    if not ((table >= 0) & (table <= [MAX_GREY] * SIDE * SIDE + [9])).all():
        raise UserError(f"{path}: not the digits table (a grey value or a label is out of range); "
                        "fetch it again")
    grey = np.round(table[:, :-1] * (255 / MAX_GREY)).astype(np.uint8).reshape(-1, SIDE, SIDE, 1)
    return Listing(classes=[str(digit) for digit in range(10)],
                   labels=table[:, -1].astype(np.int64),
                   is_test=None,
                   pictures=enumerate(np.repeat(grey, 3, axis=-1)))
