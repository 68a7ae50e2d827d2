"""Published runs: where they lie, and what a person wrote on one."""

from pathlib import Path

from stages.config.errors import UserError

RESULTS = Path("docs/results")


def results_folder(name: str) -> Path:
    """The folder of the published run `name`.

    Raises:
        UserError: the name is not that of one folder.
    """
    if name in ("", ".", "..") or Path(name).name != name:
        raise UserError(f"'{name}': not the name of a folder in {RESULTS}, as in 'cifar10'")
    return RESULTS / name


def read_note(folder: Path) -> str:
    """What a person wrote on the run in `folder`: its NOTE.md as a paragraph, or nothing."""
    note = folder / "NOTE.md"
    return f"{note.read_text(encoding='utf-8').strip()}\n\n" if note.is_file() else ""
