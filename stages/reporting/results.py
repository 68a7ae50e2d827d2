"""Where published runs lie."""

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
