"""A finished run to measure on: its float model, what feeds it, and its validation pictures."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime

from benchmarks.arguments import count, run_command_line
from benchmarks.raw_data import Told, measured_before, publish, require_same_facts
from stages.config.errors import UserError
from stages.config.params import PARAMS_FILE, load_params
from stages.config.schema import Model
from stages.data.dataset import (
    IMAGES_FILE,
    SPLITS_FILE,
    Dataset,
    PictureView,
    evenly,
    load_dataset,
)
from stages.inference.predictor import in_batches, load_onnx, model_input, predict
from stages.measurement.accuracy import compare
from stages.measurement.noise import signal_to_noise_db
from stages.measurement.system import describe_system
from stages.onnx_graph.names import FLOAT_FILE
from stages.reporting.tables import cpu_label

LAYER_BATCH, LAYER_PICTURES = 32, 64  # calibration pictures that layers are looked at with


@dataclass(frozen=True)
class Run:
    """A finished run: its float model, what feeds it, and the validation pictures to measure on."""

    source: Path
    params: Model
    dataset: Dataset
    positions: np.ndarray

    @property
    def pictures(self) -> PictureView:
        return PictureView(self.dataset.images, self.positions)

    @property
    def labels(self) -> np.ndarray:
        return self.dataset.labels[self.positions]

    def batches(self) -> list[np.ndarray]:
        """Some calibration pictures, as the model takes them."""
        pictures = self.dataset.some("calibration", LAYER_PICTURES)
        return [model_input(batch, self.params) for batch in in_batches(pictures, LAYER_BATCH)]

    def facts(self) -> dict[str, Any]:
        """What measurements of this run are made on."""
        return {"dataset": self.dataset.name, "model": self.params.name,
                "image_size": self.params.image_size, "validation_images": len(self.positions),
                "source_sha256": hashlib.sha256(self.source.read_bytes()).hexdigest()}

    def facts_here(self) -> dict[str, Any]:
        """`facts`, and the CPU and the ONNX Runtime that measure: what a result is reused for."""
        return {**self.facts(), "cpu": cpu_label(describe_system()["cpu"]),
                "onnxruntime": onnxruntime.__version__}

    def logits_at(self, path: Path, **more: Any) -> np.ndarray:
        """What the model at `path` says of the pictures, float32 (n, classes).

        Args:
            more: options of the session, by name.
        """
        return predict(load_onnx(path, **more), self.pictures, self.params)

    def logits(self, model: onnx.ModelProto) -> np.ndarray:
        """What `model` says of the pictures, float32 (n, classes)."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            onnx.save(model, path)
            return self.logits_at(path)

    def against(self, reference: np.ndarray, logits: np.ndarray) -> dict[str, Any]:
        """How `logits` of the pictures, (n, classes), compare with the float model's, `reference`.

        Returns:
            drop_pp and its 95 % interval in points, flipped pictures, logits_snr_db.
        """
        found = compare(self.labels, reference.argmax(axis=1), logits.argmax(axis=1))
        low, high = found.drop_interval_pp()
        return {"drop_pp": found.drop_pp, "drop_low_pp": low, "drop_high_pp": high,
                "flipped": found.flipped,
                "logits_snr_db": round(signal_to_noise_db(reference, logits), 2)}

    def accuracy(self, logits: np.ndarray) -> float:
        """Share of the pictures that are recognized by `logits`, shape (n, classes)."""
        return accuracy_of(self.labels, logits)


def accuracy_of(labels: np.ndarray, logits: np.ndarray) -> float:
    """Share of n pictures that are recognized by their logits, shape (n, classes)."""
    return float(np.mean(logits.argmax(axis=1) == labels))


def open_run(folder: Path, pictures: int) -> Run:
    """The run whose files stand in `folder`, with at most `pictures` of its validation split."""
    params = load_params("model", path=folder / PARAMS_FILE).model
    dataset = load_dataset(folder / IMAGES_FILE, folder / SPLITS_FILE)
    source = folder / FLOAT_FILE
    if not source.is_file():
        raise UserError(f"{source}: no such file; run 'dvc repro export'")
    return Run(source, params, dataset, evenly(dataset.splits["validation"], pictures))


def heading(name: str, record: dict[str, Any]) -> str:
    """The line above the table of the run `name`, of its facts and its `float_accuracy`."""
    return (f"{name}: {record['model']} at {record['image_size']} px, "
            f"{record['validation_images']:,} validation pictures of {record['dataset']}, "
            f"float accuracy {100 * record['float_accuracy']:.1f} %.")


def told_by_name(table: Callable[[str, dict[str, Any]], str], content: dict[str, dict[str, Any]]
                 ) -> str:
    """The `table` of each run's name and record, with an empty line between them."""
    return "\n\n".join(table(*each) for each in content.items())


def measure_named(description: str, raw: Path, page: Path, block: str,
                  measure: Callable[[Run], dict[str, Any]], told: Told) -> None:
    """Measure the run that the command line names, beside those measured before.

    Args:
        description: of the program, for its help.
        raw: the JSON file of every run's record, by name.
        page, block: where what `told` makes of all records goes.
    """
    parser = run_command_line(description)
    parser.add_argument("--pictures", type=count, default=300, help="of validation, at most")
    arguments = parser.parse_args()
    run, before = open_run(arguments.run, arguments.pictures), measured_before(raw)
    if arguments.name in before:
        facts = run.facts()
        require_same_facts(raw, arguments.name, before[arguments.name],
                           {key: facts[key] for key in ("dataset", "model", "image_size")})
    publish(raw, page, block, {**before, arguments.name: {
        **measure(run), "system": describe_system()}}, told)
