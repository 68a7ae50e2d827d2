"""Whether the metrics are those of the parameters, code and inputs beside them."""

from itertools import chain

from dvc.exceptions import DvcException
from dvc.repo import Repo

NOT_IN_GIT = ("data/", "models/")  # which a fresh clone lacks


def what_changed() -> str | None:
    """What is not as when a stage ran, as `dvc status` finds it, or why DVC can't tell; one line.

    None where all is. Outputs that a fresh clone has not fetched are no change.
    """
    try:
        with Repo() as repo:
            status = repo.status()
    except DvcException as error:
        return f"DVC can't tell whether the run is up to date: {error}"
    for stage, changes in status.items():
        for change in changes:
            # Changed deps, outs or both by path; or a plain string, "changed command".
            found = (chain.from_iterable(part.items() for part in change.values())
                     if isinstance(change, dict) else [(change, "modified")])
            for what, how in found:
                if how not in ("deleted", "not in cache") or not what.startswith(NOT_IN_GIT):
                    where = f"{what}: {', '.join(how)}" if isinstance(how, dict) else what
                    return f"{where}: not as when stage {stage} ran; run 'dvc repro'"
    return None
