"""Published runs: where they lie, what a person wrote on one, and how long its stages took."""

import hashlib
from pathlib import Path

from stages.config.errors import UserError
from stages.config.params import PARAMS_FILE
from stages.files.reading import read_json

RESULTS = Path("docs/results")
STAGE_TIMES = "stage_times.json"  # by benchmarks.stage_times


def results_folder(name: str) -> Path:
    """The folder of the published run `name`.

    Raises:
        UserError: the name is not that of one folder.
    """
    if name in ("", ".", "..") or Path(name).name != name:
        raise UserError(f"'{name}': not the name of a folder in {RESULTS}, as in 'cifar10'")
    return RESULTS / name


def parameters_sha256() -> str:
    """Names the parameters of the present run."""
    return hashlib.sha256(Path(PARAMS_FILE).read_bytes()).hexdigest()


def stage_times(folder: Path) -> str:
    """A Markdown table of the seconds that each stage took, if the present run's are in `folder`.
    """
    path = folder / STAGE_TIMES
    told = read_json(path) if path.is_file() else {}
    if told.get("parameters_sha256") != parameters_sha256():
        return ""
    rows = "".join(f"| {stage} | {seconds:,.0f} |\n"
                   for stage, seconds in told["stages"].items())
    return f"| stage | seconds |\n| --- | --- |\n{rows}\n"


def read_note(folder: Path) -> str:
    """What a person wrote on the run in `folder`: its NOTE.md as a paragraph, or nothing."""
    note = folder / "NOTE.md"
    return f"{note.read_text(encoding='utf-8').strip()}\n\n" if note.is_file() else ""
