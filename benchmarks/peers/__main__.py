"""INT8 as this repository makes it, beside other toolkits: one float model, one set of pictures.

    make peers                                                      the experiment's models
    make peers ARGS='--model efficientnet_lite0 --image-size 224'   a fresh model, its speed alone

All models are calibrated on the same pictures and run on the same threads in one process, in an
order that every round draws anew. Raw data goes to docs/peers.json, the tables to docs/peers.md;
a run takes the place of an earlier one of the same model, size, data, CPU and number of threads. A
peer that fails is a line of the table.
"""

import logging
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.arguments import count
from benchmarks.peers.entrants import gather
from benchmarks.peers.measure import measured
from benchmarks.peers.subject import fresh_model, own_experiment
from benchmarks.peers.table import page_of, section, title
from benchmarks.presets import MODELS
from benchmarks.raw_data import measured_before, publish
from stages.config.command_line import command_line
from stages.config.stage import run_stage
from stages.data.dataset import load_dataset
from stages.inference.predictor import model_input
from stages.measurement.system import describe_system

RAW = Path("docs/peers.json")
PACKAGES = ("onnxruntime", "nncf", "openvino")
CHANGES = ("image_size", "weights", "activation")  # of a model's preset, which options may ask for


def add(run: dict[str, Any], before: dict[str, Any], raw: Path) -> None:
    """Put `run` and those `before` into the file `raw`, and all tables into the page beside it."""
    publish(raw, raw.with_suffix(".md"), "peers", {**before, title(run): run}, page_of)


def installed(packages: tuple[str, ...]) -> dict[str, str]:
    """Version by package; one that is not installed is left out."""
    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def main() -> None:
    parser = command_line(__doc__, prog="python -m benchmarks.peers")
    parser.add_argument("--model", choices=sorted(path.stem for path in MODELS.glob("*.yaml")),
                        help="a model of conf/model as it starts out, for its speed alone "
                             "(default: the models of the present experiment)")
    parser.add_argument("--image-size", type=count, help="with --model: other than the preset's")
    parser.add_argument("--weights", help="with --model: other than the preset's, none say")
    parser.add_argument("--activation", help="with --model: relu6, say, in place of SiLU")
    parser.add_argument("--pictures", type=count, default=sys.maxsize,
                        help="test pictures for accuracy, at most (default: all)")
    parser.add_argument("--rounds", type=count, default=100, help="timed runs of each model and "
                        "batch size (default: 100)")
    parser.add_argument("--output", type=Path, default=RAW,
                        help=f"the raw data; the page stands beside it (default: {RAW})")
    options = parser.parse_args()
    changes = {key: value for key in CHANGES if (value := getattr(options, key)) is not None}
    if changes and not options.model:
        parser.error("--image-size, --weights and --activation need --model")
    if options.rounds < 2:
        parser.error("at least 2 rounds are needed")
    if not (page := options.output.with_suffix(".md")).is_file():
        parser.error(f"{page}: no such file; the table goes between its markers, "
                     "<!-- peers --> and <!-- /peers -->")
    logging.getLogger("benchmarks").setLevel(logging.INFO)
    dataset, before = load_dataset(), measured_before(options.output)
    with TemporaryDirectory() as folder:
        subject = fresh_model(options.model, changes, dataset, Path(folder)) if options.model \
            else own_experiment()
        calibration = model_input(dataset.view("calibration")[:], subject.params)
        entrants = gather(subject, calibration, Path(folder))
        models = measured(entrants, subject.params, dataset,
                          options.pictures if subject.trained else None, options.rounds)
    run = {"dataset": dataset.name, "model": subject.params.name,
           "image_size": subject.params.image_size, "weights": subject.params.weights,
           "activation": subject.params.activation,
           "trained": subject.trained, "calibration_images": len(calibration),
           "test_images": min(options.pictures, len(dataset.splits["test"])),
           "rounds": options.rounds, "system": describe_system(),
           "packages": installed(PACKAGES), "models": models}
    add(run, before, options.output)
    sys.stdout.write(section(run))


if __name__ == "__main__":
    run_stage(main)
