"""Published runs: where they lie, what they show, what a person wrote, how long stages took."""

import hashlib
import re
from pathlib import Path

from stages.config.errors import UserError
from stages.config.params import PARAMS_FILE, load_params
from stages.files.atomic import replacing
from stages.files.reading import read_bytes, read_json
from stages.reporting.tables import recipe_table, result_table, training_sentence

METRICS, RESULTS = Path("metrics"), Path("docs/results")
PAGE = "README.md"
STAGE_TIMES = "stage_times.json"  # by benchmarks.stage_times
PREDICTED = "predict.json"  # by benchmarks.predict_alone
# What the stage report draws, by the name of its file in plots/.
FIGURES = {"accuracy_latency": "Accuracy against latency",
           "speedups": "Speed-up against onnx_fp32",
           "latency_by_run": "Latency by run", "training": "Training",
           "confusion": "Confusion", "collapse": "What rounding to INT8 does"}
MADE_BY = re.compile(r"^Made by `(.+)`, kept by", re.M)
KEPT = ("params.yaml", "metrics/summary.json", "metrics/comparison.json", "metrics/system.json",
        "metrics/benchmark.json", "metrics/export.json", "metrics/analysis.json",
        "metrics/training_time.json", "metrics/training/metrics.json", "metrics/deploy.json",
        "plots/latency_runs.csv", "plots/node_time.csv",
        "plots/end_to_end_runs.csv", "plots/offline_runs.csv", "plots/throughput.csv",
        "plots/layer_error.csv")


def results_folder(name: str) -> Path:
    """The folder of the published run `name`.

    Raises:
        UserError: the name is not that of one folder.
    """
    if name in ("", ".", "..") or Path(name).name != name:
        raise UserError(f"'{name}': not the name of a folder in {RESULTS}, as in 'cifar10'")
    return RESULTS / name


def params_file_sha256() -> str:
    """Names the parameters of the present run."""
    return hashlib.sha256(Path(PARAMS_FILE).read_bytes()).hexdigest()


def stage_times(folder: Path) -> str:
    """A Markdown table of the seconds that each stage took, if the present run's are in `folder`:
    by these parameters, on the CPU that it was measured on.
    """
    path = folder / STAGE_TIMES
    told = read_json(path) if path.is_file() else {}
    if (told.get("params_file_sha256") != params_file_sha256()
            or told["system"]["cpu"] != read_json(METRICS / "system.json")["cpu"]):
        return ""
    rows = "".join(f"| {stage} | {seconds:,.0f} |\n"
                   for stage, seconds in told["stages"].items())
    return f"| stage | seconds |\n| --- | --- |\n{rows}\n"


def read_note(folder: Path) -> str:
    """What a person wrote on the run in `folder`: its NOTE.md as a paragraph, or nothing.

    Raises:
        UserError: it is not in UTF-8.
    """
    note = folder / "NOTE.md"
    try:
        return f"{note.read_text(encoding='utf-8-sig').strip()}\n\n" if note.is_file() else ""
    except UnicodeDecodeError as error:
        raise UserError(f"{note}: is not in UTF-8 ({error.reason}); save it so") from None


def table_of(folder: Path) -> str:
    """The result table of the run whose summary.json and system.json are in `folder`."""
    return result_table(read_json(folder / "summary.json"), read_json(folder / "system.json"))


def keep_run(name: str, command: str | None) -> None:
    """Copy the present run's parameters, metrics and figures to docs/results/<name>.

    Args:
        command: that made the run; None keeps what the page says, "dvc repro" on a new one.

    Raises:
        UserError: a file of the run is missing, the name is not that of a folder, or the folder
            holds something else; nothing is copied then.
    """
    folder = results_folder(name)
    contents = {target: read_bytes(source) for target, source in files_of_run().items()}
    require_same_run(folder)
    contents[PAGE] = run_page(folder, command or command_told(folder)).encode()
    for target, content in contents.items():
        with replacing(folder / target) as partial:
            partial.write_bytes(content)
    for old in (*folder.glob("quantize_*.json"), *folder.glob("evaluate_*.json")):
        if old.name not in contents:
            old.unlink()
    predicted = folder / PREDICTED
    if predicted.is_file() and (read_json(predicted).get("deploy")
                                != read_json(METRICS / "deploy.json")):
        predicted.unlink()  # by an earlier run's model


def files_of_run() -> dict[str, Path]:
    """The files of the present run that are kept, by the name they get."""
    params = load_params("quantize.variants", "variants")
    kept = {"training.json" if path.parent.name == "training" else path.name: path
            for path in map(Path, (*KEPT, *(f"plots/{name}.png" for name in FIGURES)))}
    return kept | {f"{stage}_{variant}.json": METRICS / stage / f"{variant}.json"
                   for stage, variants in (("quantize", params.quantize.variants),
                                           ("evaluate", params.variants)) for variant in variants}


def require_same_run(folder: Path) -> None:
    """Hold what `folder` has of an earlier run to the present one.

    Raises:
        UserError: it is a comparison, or of another data set, model or picture size.
    """
    if (folder / "experiments.csv").is_file():
        raise UserError(f"{folder}: holds a comparison of experiments; choose another name")
    if (folder / "summary.json").is_file():
        before, now = read_json(folder / "summary.json"), read_json(METRICS / "summary.json")
        if any(before.get(key) != now[key] for key in ("dataset", "model", "image_size")):
            raise UserError(f"{folder}: holds a run of {before.get('model')} on "
                            f"{before.get('dataset')}; choose another name, or remove it")


def command_told(folder: Path) -> str:
    """The command that the page in `folder` says made its run; "dvc repro" where there is none.

    Raises:
        UserError: that run had other parameters than the present one.
    """
    page, before = folder / PAGE, folder / PARAMS_FILE
    told = page.is_file() and MADE_BY.search(page.read_text(encoding="utf-8"))
    if told and read_bytes(before) != read_bytes(Path(PARAMS_FILE)):
        raise UserError(f"{before}: {PARAMS_FILE} is another now than when `{told[1]}` made the "
                        "run; tell the command that made this one, by COMMAND='...'")
    return told[1] if told else "dvc repro"


def run_page(folder: Path, command: str) -> str:
    """The page of the present run, to stand in `folder`."""
    training = training_sentence(read_json(METRICS / "training" / "metrics.json"),
                                 read_json(METRICS / "training_time.json"))
    recipes = recipe_table(read_json(METRICS / "analysis.json"))
    figures = "\n".join(f"![{caption}]({name}.png)\n" for name, caption in FIGURES.items())
    return (f"# {folder.name}\n\nMade by `{command}`, kept by `make publish`. Parameters: "
            f"[params.yaml](params.yaml); numbers: [summary.json](summary.json).\n\n"
            f"{read_note(folder)}{table_of(METRICS)}\n{training}\n{stage_times(folder)}{recipes}\n"
            f"{figures}")
