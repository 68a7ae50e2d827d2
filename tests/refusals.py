"""What a user reads when a call or a stage refuses bad input."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from stages.config.errors import UserError


def refusal(call: Callable, *arguments: Any, **options: Any) -> str:
    """The message with which `call` refuses `arguments`: a UserError of one line."""
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert message.strip(), "the message is empty"
    assert len(message.splitlines()) == 1, message
    return message


def run_stage(stage: str, folder: Path, *arguments: str, **environment: str
              ) -> subprocess.CompletedProcess:
    """Run `python -m stages.<stage>` in `folder`, with no data source but those given."""
    inherited = {name: value for name, value in os.environ.items()
                 if not name.startswith("DATA_SOURCE_")}
    (folder / ".env").touch()
    return subprocess.run(
        [sys.executable, "-m", f"stages.{stage}", *arguments], cwd=folder, text=True,
        capture_output=True, timeout=120,
        env={**inherited, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "NO_PROXY": "*",
             **environment})


def error_line(result: subprocess.CompletedProcess) -> str:
    """The one error line of a stage that ended on bad input, and nothing like a traceback."""
    errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR ")]
    assert result.returncode == 1, result.stderr
    assert len(errors) == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert "Warning" not in result.stderr
    return errors[0]
