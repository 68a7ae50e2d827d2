"""The state of an unfinished run, so that a run that was stopped goes on where it was."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import torch

from stages.model.checkpoint import save_torch
from stages.model.weights import LOAD_ERRORS

log = logging.getLogger(__name__)

STATE_FILE = Path("models/unfinished_training.pt")


def fingerprint(params: str, *data: Path) -> str:
    """Names a run: its parameters, as text, and the files of its data."""
    name = hashlib.sha256(params.encode())
    for path in data:
        with path.open("rb") as file:
            name.update(hashlib.file_digest(file, "sha256").digest())
    return name.hexdigest()


def save_state(run: str, state: dict[str, Any], path: Path = STATE_FILE) -> None:
    """Keep `state` under the name of its run."""
    save_torch(path, {"run": run, **state})


def load_state(run: str, path: Path = STATE_FILE) -> dict[str, Any] | None:
    """The state that was kept for `run`; None when there is none, or it is another run's."""
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except LOAD_ERRORS:
        log.warning("%s: damaged; training starts anew", path)
        return None
    if not isinstance(state, dict) or state.get("run") != run:
        log.info("%s: is of other parameters or data; training starts anew", path)
        return None
    return state
