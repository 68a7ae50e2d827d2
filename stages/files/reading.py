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


def read_note(folder: Path) -> str:
    """What a person wrote on the run in `folder`: its NOTE.md as a paragraph, or nothing."""
    note = folder / "NOTE.md"
    return f"{note.read_text(encoding='utf-8').strip()}\n\n" if note.is_file() else ""


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """The table in a CSV file that a stage has written; `options` are those of pandas.read_csv.

    Raises:
        UserError: there is no such file.
    """
    return pd.read_csv(io.BytesIO(read_bytes(path)), **options)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file that a stage has written.

    Raises:
        UserError: there is no such file, or it is no JSON.
    """
    try:
        return json.loads(read_bytes(path))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); run 'git checkout {path}'") from None
