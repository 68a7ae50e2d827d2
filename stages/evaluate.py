"""Stage evaluate@<variant>: predictions on validation and test, and the accuracy they have."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from stages.config.command_line import variant_asked_for
from stages.config.errors import UserError
from stages.config.params import load_params
from stages.config.schema import Model
from stages.config.stage import run_stage
from stages.data.dataset import load_dataset
from stages.files.atomic import write_csv, write_json
from stages.inference.predictor import check_finite, load_onnx, predict
from stages.inference.session import Predictor, is_onnx
from stages.measurement.accuracy import accuracy_by_class, accuracy_interval

log = logging.getLogger(__name__)


def _load(path: Path, model: Model, classes: list[str]) -> Predictor:
    if is_onnx(path):
        return load_onnx(path)
    from stages.inference.torch_predictor import load_torch  # seconds that ONNX does without

    return load_torch(path, model, classes=classes)


def check_classes(logits: np.ndarray, classes: list[str], path: Path) -> None:
    """Raises UserError unless `logits` are (n, classes), as of a model of the present data."""
    if logits.shape[1:] != (len(classes),):
        raise UserError(f"{path}: gives {' by '.join(map(str, logits.shape[1:]))} numbers "
                        f"for a picture, but the data has {len(classes)} classes; is it of these "
                        "data?")


def main() -> None:
    variant = variant_asked_for(__doc__, "variants")
    params = load_params("model", f"variants.{variant}")
    dataset = load_dataset()
    path = Path(params.variants[variant])
    predictor = _load(path, params.model, dataset.classes)
    parts = []
    for split in ("validation", "test"):
        logits = predict(predictor, dataset.view(split), params.model)
        check_classes(logits, dataset.classes, path)
        check_finite(logits, path)
        parts.append(pd.DataFrame({
            "split": split, "position": dataset.splits[split], "label": dataset.labels_of(split),
            "predicted": logits.argmax(axis=1),
            "confidence": softmax(logits, axis=1).max(axis=1).round(6)}))
    write_csv(Path(f"data/predictions/{variant}.csv"), pd.concat(parts))
    validation, test = parts
    labels, predicted = test["label"].to_numpy(), test["predicted"].to_numpy()
    names = np.array(dataset.classes)
    write_csv(Path(f"plots/confusion/{variant}.csv"),
              pd.DataFrame({"actual": names[labels], "predicted": names[predicted]}))
    metrics = {"dataset": dataset.name, "images": len(test), "size_mb": path.stat().st_size / 1e6,
               **accuracy_interval(labels == predicted),
               "validation_images": len(validation),
               "validation_accuracy": float((validation.label == validation.predicted).mean()),
               "by_class": accuracy_by_class(labels, predicted, dataset.classes)}
    write_json(Path(f"metrics/evaluate/{variant}.json"), metrics)
    log.info("%s: accuracy %.4f (95 %%: %.4f to %.4f) on %d test pictures", variant,
             metrics["accuracy"], metrics["accuracy_ci95_low"], metrics["accuracy_ci95_high"],
             len(test))


if __name__ == "__main__":
    run_stage(main)
