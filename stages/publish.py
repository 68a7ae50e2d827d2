"""Publish results: the pages' tables from metrics, and a run under docs/results/<name>.

    python -m stages.publish                      # refresh the tables of the pages
    python -m stages.publish NAME --command TEXT  # also keep the present run as docs/results/NAME

The pages' own tables are of the default experiment, which conf/ composes with nothing overridden;
a run of another leaves them alone.
What is to be said of a run beside its numbers stands in docs/results/NAME/NOTE.md, if anywhere.
"""

import argparse
import logging
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from dvc.utils.hydra import compose_and_dump
from hydra.errors import HydraException
from omegaconf import OmegaConf

from stages.config.errors import UserError
from stages.config.params import PARAMS_FILE, load_params
from stages.config.stage import run_stage
from stages.files.atomic import replacing
from stages.files.reading import read_bytes, read_json
from stages.reporting.blocks import write_block
from stages.reporting.reproduced import what_changed
from stages.reporting.results import RESULTS, read_note, results_folder, stage_times
from stages.reporting.tables import recipe_table, result_table, training_sentence

log = logging.getLogger(__name__)

README = Path("README.md")
COLLAPSE = Path("docs/collapse.md")
METRICS = Path("metrics")
CONF = Path("conf")
MADE_BY = re.compile(r"^Made by `(.+)`, kept by", re.M)
KEPT = ("params.yaml", "metrics/summary.json", "metrics/comparison.json", "metrics/system.json",
        "metrics/benchmark.json", "metrics/export.json", "metrics/analysis.json",
        "metrics/training_time.json", "metrics/training/metrics.json", "metrics/deploy.json",
        "plots/latency_runs.csv", "plots/node_time.csv",
        "plots/end_to_end_runs.csv", "plots/offline_runs.csv", "plots/throughput.csv",
        "plots/layer_error.csv")
CAPTIONS = {"accuracy_latency.png": "Accuracy against latency",
            "speedups.png": "Speed-up against onnx_fp32",
            "latency_by_run.png": "Latency by run", "training.png": "Training",
            "confusion.png": "Confusion", "collapse.png": "What rounding to INT8 does"}


def table_of(folder: Path) -> str:
    """The result table of the run whose summary.json and system.json are in `folder`."""
    return result_table(read_json(folder / "summary.json"), read_json(folder / "system.json"))


def keep_run(name: str, command: str | None) -> None:
    """Copy the present run's parameters, metrics and figures to docs/results/<name>.

    Args:
        command: that made the run; None keeps what the page says, "dvc repro" on a new one.

    Raises:
        UserError: a file of the run is missing, the name is not that of a folder, or the page says
            what made a run of other parameters; nothing is copied then.
    """
    folder = results_folder(name)
    page = folder / "README.md"
    told = page.is_file() and MADE_BY.search(page.read_text(encoding="utf-8"))
    before = folder / PARAMS_FILE
    if not command and told and read_bytes(before) != read_bytes(Path(PARAMS_FILE)):
        raise UserError(f"{before}: {PARAMS_FILE} is another now than when `{told[1]}` made the "
                        "run; tell the command that made this one, by COMMAND='...'")
    command = command or (told[1] if told else "dvc repro")
    kept = {"training.json" if path.parent.name == "training" else path.name: path
            for path in map(Path, (*KEPT, *(f"plots/{name}" for name in CAPTIONS)))}
    params = load_params("quantize.variants", "variants")
    kept |= {f"{stage}_{variant}.json": METRICS / stage / f"{variant}.json"
             for stage, variants in (("quantize", params.quantize.variants),
                                     ("evaluate", params.variants)) for variant in variants}
    contents = {target: read_bytes(source) for target, source in kept.items()}
    summary = read_json(METRICS / "summary.json")
    if (folder / "experiments.csv").is_file():
        raise UserError(f"{folder}: holds a comparison of experiments; choose another name")
    if (folder / "summary.json").is_file():
        before = read_json(folder / "summary.json")
        if any(before.get(key) != summary[key] for key in ("dataset", "model", "image_size")):
            raise UserError(f"{folder}: holds a run of {before.get('model')} on "
                            f"{before.get('dataset')}; choose another name, or remove it")
    training = training_sentence(read_json(METRICS / "training" / "metrics.json"),
                                 read_json(METRICS / "training_time.json"))
    recipes = recipe_table(read_json(METRICS / "analysis.json"))
    figures = "\n".join(f"![{caption}]({file})\n" for file, caption in CAPTIONS.items())
    contents[page.name] = (
        f"# {name}\n\nMade by `{command}`, kept by `make publish`. Parameters: "
        f"[params.yaml](params.yaml); numbers: [summary.json](summary.json).\n\n"
        f"{read_note(folder)}{table_of(METRICS)}\n{training}\n{stage_times(folder)}{recipes}\n"
        f"{figures}").encode()
    for target, content in contents.items():
        with replacing(folder / target) as partial:
            partial.write_bytes(content)
    for old in (*folder.glob("quantize_*.json"), *folder.glob("evaluate_*.json")):
        if old.name not in kept:
            old.unlink()


def is_default() -> bool:
    """Whether params.yaml is what conf/ composes with nothing overridden.

    Raises:
        UserError: conf/ can't be composed.
    """
    with TemporaryDirectory() as folder:
        composed = Path(folder) / PARAMS_FILE
        try:
            compose_and_dump(composed, str(CONF.resolve()), None, "config", "", [])
        except HydraException as error:
            raise UserError(f"{CONF}: {str(error).splitlines()[0]}") from None
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
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
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
