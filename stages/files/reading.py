"""Reading what an earlier stage wrote, or saying what is wrong with it."""

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd

from stages.config.errors import UserError


def read_bytes(path: Path) -> bytes:
    """The content of a file that a stage has written.

    Raises:
        UserError: there is no such file.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run 'dvc repro'") from None


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """The table in a CSV file that a stage has written; `options` are those of pandas.read_csv.

    Raises:
        UserError: there is no such file, or it is no table.
    """
    try:
        return pd.read_csv(io.BytesIO(read_bytes(path)), **options)
    except ValueError as error:
        raise UserError(f"{path}: not valid CSV ({str(error).strip()}); run 'dvc repro'") from None


class Written(dict):
    """An object of a JSON file, which tells where a key that it lacks was looked for."""

    def __init__(self, values: dict[str, Any], path: Path) -> None:
        super().__init__(values)
        self._path = path

    def __missing__(self, key: str) -> Any:
        raise UserError(f"{self._path}: has no '{key}'; made by other code than this, or for other "
                        "parameters: run 'dvc repro'")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file that a stage has written; a key that it lacks is a UserError.

    Raises:
        UserError: there is no such file, or it is no JSON object.
    """
    try:
        content = json.loads(read_bytes(path), object_hook=lambda values: Written(values, path))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); run 'git checkout {path}'") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no JSON object; run 'git checkout {path}'")
    return content
