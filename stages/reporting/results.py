"""Published runs: where they lie, what a person wrote on one, and how long its stages took."""

from pathlib import Path

from stages.config.errors import UserError
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


def stage_times(folder: Path) -> str:
    """A Markdown table of the seconds that each stage of the run in `folder` took, if it has any.
    """
    path = folder / STAGE_TIMES
    if not path.is_file():
        return ""
    rows = "".join(f"| {stage} | {seconds:,.0f} |\n"
                   for stage, seconds in read_json(path)["stages"].items())
    return f"| stage | seconds |\n| --- | --- |\n{rows}\n"


def read_note(folder: Path) -> str:
    """What a person wrote on the run in `folder`: its NOTE.md as a paragraph, or nothing."""
    note = folder / "NOTE.md"
    return f"{note.read_text(encoding='utf-8').strip()}\n\n" if note.is_file() else ""
