"""Accuracy against time of the runs that were trained on all of CIFAR-10.

    python -m benchmarks.training_runs NAME [--run FOLDER] [--after EARLIER]

adds the run that `dvc repro train` or `dvc exp run` left in FOLDER to docs/training_runs.json, as
NAME, and draws all of them: docs/training_runs.png, and a table in docs/training.md. A run that
began with the weights of EARLIER, one of those there, is told with the time of both.
"""

from itertools import accumulate
from pathlib import Path
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from benchmarks.arguments import run_command_line
from benchmarks.markdown import markdown_table
from benchmarks.raw_data import measured_before, publish
from stages.config.errors import UserError
from stages.config.stage import run_stage
from stages.files.reading import read_csv, read_json
from stages.measurement.system import describe_system
from stages.reporting.figures import save, themed_axes
from stages.reporting.tables import cpu_label
from stages.train import HISTORY_DIR, TIMING_FILE

RAW, PAGE = Path("docs/training_runs.json"), Path("docs/training.md")
FIGURE = Path("docs/training_runs.png")
LOWEST = 70  # percent; where the figure begins
PUBLISHED = ", as published"  # ends the name of a run that is not of JPEG files


def record_of(folder: Path) -> dict[str, Any]:
    """The run in `folder`, which this machine has trained, by epoch.

    Returns:
        cpu, with the device before it if that is another, and lists of a number for each epoch:
        image_size in pixels, minutes since the start (validation included),
        train_accuracy and val_accuracy as fractions.

    Raises:
        UserError: a file of the run is missing.
    """
    sizes, train, validation = (
        read_csv(folder / HISTORY_DIR / "plots" / "metrics" / f"{name}.tsv", sep="\t").iloc[:, 1]
        for name in ("image_size", "train/accuracy", "val/accuracy"))
    timing = read_json(folder / TIMING_FILE)
    cpu = cpu_label(describe_system()["cpu"])
    return {"cpu": cpu if timing["device"] == "cpu" else f"{timing['device']}, {cpu}",
            "image_size": sizes.astype(int).tolist(),
            "minutes": [round(seconds / 60, 1) for seconds in
                        accumulate(timing["epoch_seconds"])],
            "train_accuracy": train.tolist(), "val_accuracy": validation.tolist()}


def following(record: dict[str, Any], earlier: str, runs: dict[str, Any]) -> dict[str, Any]:
    """`record` as that of a run which began where the run `earlier` of `runs` ended.

    Raises:
        UserError: there is no such run.
    """
    if earlier not in runs:
        raise UserError(f"--after: no run is called '{earlier}'; those there are: "
                        f"{', '.join(runs)}")
    start = runs[earlier]["minutes"][-1]
    return {**record, "after": earlier,
            "minutes": [round(start + minutes, 1) for minutes in record["minutes"]]}


def told(runs: dict[str, dict[str, Any]]) -> str:
    """A row for each run, in Markdown."""
    rows = []
    for name, run in runs.items():
        best, epochs = max(run["val_accuracy"]), len(run["minutes"])
        if "after" in run:
            epochs = f"{epochs} after {len(runs[run['after']]['minutes'])}"
        rows.append((name, run["cpu"], epochs, f"{run['minutes'][-1]:.0f}",
                     f"{100 * run['train_accuracy'][-1]:.1f} %",
                     f"{100 * best:.2f} % ({run['val_accuracy'].index(best) + 1})"))
    return markdown_table(("run", "CPU", "epochs", "minutes", "training, last epoch",
                           "validation, best epoch"), rows)


def curves(runs: dict[str, dict[str, Any]]) -> Figure:
    """Validation accuracy of each run against its minutes, on the left of JPEG files."""
    figure, panels = themed_axes(13, 7.4, columns=2, sharey=True)
    for axes, title, published in zip(panels, ("CIFAR-10 as JPEG files", "CIFAR-10 as published"),
                                      (False, True), strict=True):
        points = pd.DataFrame([
            {"run": name.removesuffix(PUBLISHED), "minutes": minutes, "accuracy": 100 * accuracy}
            for name, run in runs.items() if name.endswith(PUBLISHED) == published
            for minutes, accuracy in zip(run["minutes"], run["val_accuracy"], strict=True)],
            columns=["run", "minutes", "accuracy"])
        sns.lineplot(points, x="minutes", y="accuracy", hue="run", style="run", markers=True,
                     dashes=False, ax=axes)
        axes.set(xlim=(0, None), xlabel="minutes of training", ylabel="validation accuracy, %",
                 title=title)
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.12), frameon=False)
    panels[0].set_ylim(bottom=LOWEST)  # of both, once all is drawn
    return figure


def main() -> None:
    parser = run_command_line(__doc__)
    parser.add_argument("--after", metavar="EARLIER", help="the run whose weights it began with")
    arguments = parser.parse_args()
    runs, record = measured_before(RAW), record_of(arguments.run)
    if arguments.after == arguments.name:
        raise UserError(f"--after: '{arguments.name}' can't follow itself; give this run another "
                        "name")
    if arguments.after:
        record = following(record, arguments.after, runs)
    runs = {**runs, arguments.name: record}
    save(curves(runs), FIGURE)
    publish(RAW, PAGE, "training runs", runs, told)


if __name__ == "__main__":
    run_stage(main)
