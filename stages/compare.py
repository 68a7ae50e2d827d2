"""Compare experiments: a table and a figure under docs/results/<name>.

    python -m stages.compare ablation --by model.name EXPERIMENT [EXPERIMENT ...]
"""

import argparse
import logging
from pathlib import Path

import pandas as pd

from stages.config.stage import run_stage
from stages.files.atomic import replacing, write_csv
from stages.reporting.experiments import VARIANTS, experiment_row, markdown
from stages.reporting.figures import experiments, save

log = logging.getLogger(__name__)

RESULTS = Path("docs/results")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="folder below docs/results")
    parser.add_argument("experiments", nargs="+", help="names as in 'dvc exp list', or commits")
    parser.add_argument("--by", action="append", required=True, metavar="KEY",
                        help="a parameter that was varied; may be given more than once")
    arguments = parser.parse_args()
    rows = pd.DataFrame([experiment_row(rev, arguments.by) for rev in arguments.experiments])
    folder = RESULTS / arguments.name
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "experiments.csv", rows)
    save(experiments(rows, VARIANTS, arguments.by), folder / "experiments.png")
    with replacing(folder / "table.md") as partial:
        partial.write_text(markdown(rows), encoding="utf-8")
    log.info("%s: table.md, experiments.csv and experiments.png", folder)
    print(markdown(rows))


if __name__ == "__main__":
    run_stage(main)
