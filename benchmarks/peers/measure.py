"""Accuracy and time of every model, on the same pictures and in one process."""

import logging
from typing import Any

import numpy as np

from benchmarks.peers.entrants import Entrant
from benchmarks.peers.table import BATCH_SIZE, SEVERAL, SINGLE
from benchmarks.rounds import model_milliseconds
from stages.config.schema import REFERENCE, Model
from stages.data.dataset import Dataset, PictureView
from stages.inference.predictor import model_input, predict
from stages.inference.session import Predictor
from stages.measurement.accuracy import accuracy_interval, compare

log = logging.getLogger(__name__)

# Pictures that are timed, one after the other and around again.
TIMED = 64


def accuracies(predictors: dict[str, Predictor], pictures: PictureView, labels: np.ndarray,
               model: Model) -> dict[str, dict[str, float]]:
    """Accuracy of each on `pictures`, and its drop against the float model, with intervals."""
    classes = {}
    for name, predictor in predictors.items():
        classes[name] = predict(predictor, pictures, model).argmax(axis=1)
        log.info("%s: %.2f %% of %d pictures", name, 100 * np.mean(classes[name] == labels),
                 len(labels))
    return {name: {**accuracy_interval(each == labels),
                   **compare(labels, classes[REFERENCE], each).accuracy_drop()}
            for name, each in classes.items()}


def measured(entrants: dict[str, Entrant], model: Model, dataset: Dataset, pictures: int | None,
             rounds: int) -> dict[str, dict[str, Any]]:
    """Facts and raw data of every model.

    Args:
        pictures: of the test split, evenly drawn, for accuracy; None leaves accuracy out.
    """
    runs = {name: each.predictor for name, each in entrants.items() if each.predictor}
    found = {name: dict(each.facts) for name, each in entrants.items()}
    if pictures is not None:
        view = dataset.some("test", pictures)
        for name, each in accuracies(runs, view, dataset.labels[view.positions], model).items():
            found[name].update(each)
    timed = np.resize(dataset.some("test", TIMED).positions, TIMED)  # a small split, over and over
    inputs = model_input(dataset.images[timed], model)
    for series, batch_size in ((SINGLE, 1), (SEVERAL, BATCH_SIZE)):
        log.info("timing batches of %d, %d rounds of %d models", batch_size, rounds, len(runs))
        for name, times in model_milliseconds(runs, inputs, batch_size, rounds).items():
            found[name][series] = times
    return found
