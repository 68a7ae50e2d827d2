"""Processes of their own, and how one that fails is told in one line."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from stages.config.errors import UserError


def run_module(module: str, *arguments: str, python: str = sys.executable,
               prefix: Sequence[str] = (), **options: Any) -> str:
    """What `python -m module`, in a process of its own, writes to its standard output.

    Args:
        python: of another environment, say.
        prefix: what the command begins with, an emulator say.
        options: of subprocess.run.

    Raises:
        UserError: the process failed or was killed.
    """
    result = subprocess.run([*prefix, python, "-m", module, *arguments],
                            capture_output=True, text=True, errors="replace", **options)
    if result.returncode:
        raise UserError(f"{' '.join([*prefix, module, *arguments])}: "
                        f"{failure(result.returncode, result.stderr)}")
    return result.stdout


def failure(status: int, errors: str) -> str:
    """Why a process ended with `status`: its signal, or the last line that it wrote to stderr."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return (errors.strip() or f"exit status {status}").splitlines()[-1]
