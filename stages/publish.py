"""Publish results: the pages' tables from metrics, and a run under docs/results/<name>.

    python -m stages.publish                      # refresh the tables of the pages
    python -m stages.publish NAME --command TEXT  # also keep the present run as docs/results/NAME

The pages' own tables are of the default experiment, which conf/ composes with nothing overridden;
a run of another leaves them alone.
What is to be said of a run beside its numbers stands in docs/results/NAME/NOTE.md, if anywhere.
"""

import logging
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import OmegaConf

from stages.config.command_line import command_line
from stages.config.compose import compose
from stages.config.errors import UserError
from stages.config.params import PARAMS_FILE
from stages.config.stage import run_stage
from stages.files.reading import read_json
from stages.reporting.blocks import write_block
from stages.reporting.reproduced import what_changed
from stages.reporting.results import METRICS, RESULTS, keep_run, table_of
from stages.reporting.tables import recipe_table

log = logging.getLogger(__name__)

README = Path("README.md")
COLLAPSE = Path("docs/collapse.md")
CONF = Path("conf")


def is_default() -> bool:
    """Whether params.yaml is what conf/ composes with nothing overridden.

    Raises:
        UserError: conf/ can't be composed.
    """
    with TemporaryDirectory() as folder:
        composed = Path(folder) / PARAMS_FILE
        compose(CONF, composed)
        return OmegaConf.load(composed) == OmegaConf.load(PARAMS_FILE)


def refresh_pages() -> None:
    """Put tables between their markers: the present run's, and each published run's that has any.
    """
    if is_default():
        write_block(README, "results", table_of(METRICS))
        write_block(COLLAPSE, "collapse", recipe_table(read_json(METRICS / "analysis.json")))
    else:
        log.info("%s and %s show the default experiment; %s is of another and leaves their tables "
                 "alone", README, COLLAPSE, PARAMS_FILE)
    for name in re.findall(r"<!-- results (\S+) -->", README.read_text(encoding="utf-8")):
        write_block(README, f"results {name}", table_of(RESULTS / name))


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("name", nargs="?", help="folder below docs/results for the present run")
    parser.add_argument("--command", help="the command that made the run, for its page")
    arguments = parser.parse_args()
    if arguments.command and not arguments.name:
        parser.error("--command needs NAME")
    if change := what_changed():
        raise UserError(change)
    if arguments.name:
        keep_run(arguments.name, arguments.command)
        log.info("%s: kept", RESULTS / arguments.name)
    refresh_pages()


if __name__ == "__main__":
    run_stage(main)
