"""Raw data of benchmarks: JSON to which a program adds what it measures."""

from pathlib import Path
from typing import Any

import numpy as np

from stages.files.reading import read_json


def measured_before(path: Path) -> dict[str, Any]:
    """What the JSON file of raw data at `path` holds; an empty object if there is no such file.

    Raises:
        UserError: it is no JSON object.
    """
    return read_json(path) if path.is_file() else {}


def recorded_db(ratio: float) -> float | None:
    """A ratio in decibels to a tenth; None for NaN, of a tensor not there."""
    return None if np.isnan(ratio) else round(ratio, 1)
