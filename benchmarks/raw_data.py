"""Raw data of benchmarks, to which a program adds what it measures."""

from pathlib import Path
from typing import Any

from stages.files.reading import read_json


def measured_before(path: Path) -> Any:
    """What the JSON file of raw data at `path` holds; an empty object if there is no such file.

    Raises:
        UserError: it is no JSON.
    """
    return read_json(path) if path.is_file() else {}
