"""The state of an unfinished run, so that a run that was stopped goes on where it was."""

import hashlib
import logging
import sys
from pathlib import Path
from typing import Any

import accelerate
import timm
import torch
import torchvision

import stages
from stages.model.checkpoint import save_torch
from stages.model.weights import LOAD_ERRORS

log = logging.getLogger(__name__)

FOLDER = Path("models")
STATE_FILES = "unfinished_training_{}.pt"
# Of stages.training.loop: what goes on after `epoch`.
STATE_KEYS = {"epoch", "model", "best", "averaged", "optimizer", "scheduler", "stopping", "history"}


def fingerprint(params: str, *files: Path) -> str:
    """Names a run: its parameters, as text, the libraries' versions, and files of data and code."""
    libraries = [library.__version__ for library in (torch, torchvision, timm, accelerate)]
    name = hashlib.sha256(f"{params}{libraries}".encode())
    for path in files:
        with path.open("rb") as file:
            name.update(hashlib.file_digest(file, "sha256").digest())
    return name.hexdigest()


def loaded_code() -> list[Path]:
    """The files of this project's code that have been imported."""
    root = Path(stages.__file__).resolve().parent
    files = {Path(file).resolve() for module in list(sys.modules.values())
             if (file := getattr(module, "__file__", None))}
    return sorted(path for path in files if path.is_relative_to(root))


def state_file(run: str) -> Path:
    """Where the state of `run` is kept, as `fingerprint` names it."""
    return FOLDER / STATE_FILES.format(run[:12])


def save_state(run: str, state: dict[str, Any]) -> None:
    """Keep `state` under the name of its run."""
    save_torch(state_file(run), {"run": run, **state})


def discard_state(run: str) -> None:
    """Forget the state of `run`, once its checkpoint is written."""
    state_file(run).unlink(missing_ok=True)


def load_state(run: str) -> dict[str, Any] | None:
    """The state that was kept for `run`; None when there is none. Others' are told of."""
    path = state_file(run)
    for other in sorted(set(FOLDER.glob(STATE_FILES.format("*"))) - {path}):
        log.info("%s: is of other parameters, data or code, with which it goes on; remove it if it "
                 "is not to", other)
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        kept = state.pop("run")
        whole = kept == run and state.keys() == STATE_KEYS
    except LOAD_ERRORS:  # among them those of what is no dictionary, or has no such key
        whole = False
    if not whole:
        log.warning("%s: damaged; training starts anew", path)
        return None
    return state
