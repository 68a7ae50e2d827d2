"""Accuracy of a deployed model by `stages.predict` alone, in an environment of its three packages.

    python -m benchmarks.predict_alone NAME PICTURES [--run FOLDER]

PICTURES holds the test split as files, <class>/<file>: of an archive, what `unzip` or `tar` makes
of its folder test/. An environment with onnxruntime, numpy and pillow, and what these need, is made
for the while, by pip. What was found goes to docs/results/NAME/predict.json.
"""

import json
import re
import sys
import venv
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.arguments import run_command_line
from benchmarks.child import run_module
from benchmarks.raw_data import cpu_and_threads
from stages.config.errors import UserError
from stages.config.stage import run_stage
from stages.files.atomic import write_json
from stages.files.reading import read_json
from stages.measurement.system import describe_system
from stages.reporting.results import PREDICTED, results_folder

ROOT = Path(__file__).parent.parent
PACKAGES = ("onnxruntime", "numpy", "pillow")
MODEL, DEPLOYED = Path("models/deploy.onnx"), Path("metrics/deploy.json")


def pinned(requirements: str) -> list[str]:
    """PACKAGES as the file of requirements pins them."""
    return [re.search(rf"^{name}==\S+", requirements, re.M)[0] for name in PACKAGES]


def make_environment(folder: Path, packages: list[str]) -> Path:
    """An environment below `folder` that has `packages` alone; its Python.

    Raises:
        UserError: pip failed.
    """
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin" / "python"
    run_module("pip", "install", "--quiet", *packages, python=str(python))
    return python


def classify(python: Path, model: Path, pictures: Path) -> list[dict[str, Any]]:
    """What `stages.predict`, run by `python`, says of each file in `pictures`.

    Raises:
        UserError: a picture could not be classified, or the model not be used.
    """
    lines = run_module("stages.predict", str(pictures), "--json", "--model", str(model),
                       python=str(python), cwd=pictures,
                       env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"})
    return [json.loads(line) for line in lines.splitlines()]


def accuracies(predictions: list[dict[str, Any]], pictures: Path) -> dict[str, Any]:
    """Share that is right, of all and by class, which is a picture's first folder in `pictures`.

    Raises:
        UserError: that folder is no class of the model.
    """
    files, right = Counter(), Counter()
    for each in predictions:
        actual = Path(each["path"]).relative_to(pictures).parts[0]
        if actual not in each["probabilities"]:
            raise UserError(f"{pictures}: holds '{actual}', which is no class of the model; name "
                            "the folder whose folders are the classes")
        files[actual] += 1
        right[actual] += each["class"] == actual
    return {"files": files.total(), "right": right.total(),
            "accuracy": right.total() / files.total(),
            "accuracy_by_class": {name: right[name] / files[name] for name in sorted(files)}}


def main() -> None:
    parser = run_command_line(__doc__)
    parser.add_argument("pictures", type=Path, help="folder of the test split, <class>/<file>")
    arguments = parser.parse_args()
    pictures = arguments.pictures.resolve()
    if not pictures.is_dir():
        raise UserError(f"{arguments.pictures}: no such folder")
    folder, deployed = results_folder(arguments.name), read_json(arguments.run / DEPLOYED)
    packages = pinned((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    with TemporaryDirectory() as environment:
        python = make_environment(Path(environment), packages)
        predictions = classify(python, (arguments.run / MODEL).resolve(), pictures)
    found = accuracies(predictions, pictures)
    write_json(folder / PREDICTED, {
        "command": f"python -m stages.predict {arguments.pictures.name} --json --model {MODEL}",
        "environment": f"{', '.join(packages)} and what they need",
        "cpu": cpu_and_threads(describe_system()), "deploy": deployed, **found})
    sys.stdout.write(f"{found['right']:,} of {found['files']:,} files, "
                     f"{100 * found['accuracy']:.2f} %\n")


if __name__ == "__main__":
    run_stage(main)
