"""Composing parameters from the files in conf/, as `dvc exp run` does."""

from collections.abc import Sequence
from pathlib import Path

from dvc.utils.hydra import compose_and_dump
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from stages.config.errors import UserError


def compose(conf: Path, target: Path, overrides: Sequence[str] = ()) -> None:
    """Write to `target` what the folder `conf` composes with `overrides`, as in 'train.epochs=1'.

    Raises:
        UserError: it can't be composed.
    """
    try:
        compose_and_dump(target, str(conf.resolve()), None, "config", "", list(overrides))
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise UserError(f"{conf}: {' '.join(str(error).split())}") from None
