"""Compare experiments: a page with a table and a figure, docs/results/<name>/README.md.

    python -m stages.compare ablation --by model.name EXPERIMENT [EXPERIMENT ...]

What is to be said of them beside the numbers stands in docs/results/<name>/NOTE.md, if anywhere.
"""

import logging
import shlex
import sys

import pandas as pd

from stages.config.command_line import command_line
from stages.config.errors import UserError
from stages.config.schema import REFERENCE
from stages.config.stage import run_stage
from stages.files.atomic import replacing, write_csv
from stages.reporting.experiments import experiment_row, markdown
from stages.reporting.figures import experiments, save
from stages.reporting.results import read_note, results_folder

log = logging.getLogger(__name__)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("name", help="folder below docs/results")
    parser.add_argument("experiments", nargs="+", help="names as in 'dvc exp list', or commits")
    parser.add_argument("--by", action="append", required=True, metavar="KEY",
                        help="a parameter that was varied; may be given more than once")
    parser.add_argument("--variant", action="append", metavar="NAME",
                        help="shown beside onnx_fp32; may be given more than once (int8_static)")
    arguments = parser.parse_args()
    folder = results_folder(arguments.name)
    if (folder / "summary.json").is_file():
        raise UserError(f"{folder}: holds a published run; choose another name")
    variants = [REFERENCE, *(arguments.variant or ["int8_static"])]
    rows = pd.DataFrame([experiment_row(rev, arguments.by, variants)
                         for rev in arguments.experiments])
    told, note = markdown(rows.drop(columns="machine"), variants), read_note(folder)
    figure = experiments(rows, variants, arguments.by)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "experiments.csv", rows)
    save(figure, folder / "experiments.png")
    with replacing(folder / "README.md") as partial:
        partial.write_text(
            f"# {arguments.name}\n\nMade by `python -m stages.compare {shlex.join(sys.argv[1:])}`; "
            f"numbers: [experiments.csv](experiments.csv). Measured on "
            f"{' and '.join(rows.machine.unique())}; ms is the median latency of one picture. "
            "Choose by the accuracy on validation.\n\n"
            f"{note}{told}\n"
            "![Experiments](experiments.png)\n", encoding="utf-8")
    log.info("%s: README.md, experiments.csv and experiments.png", folder)
    print(told)


if __name__ == "__main__":
    run_stage(main)
