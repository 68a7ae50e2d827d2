"""What is timed in rounds of random order, and how many times as fast one is as another."""

from functools import partial

import numpy as np

from stages.inference.session import Predictor
from stages.measurement.timing import Run, interleaved

WARMUP = 5


def milliseconds(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Of each round, by name of what is run, each time after an untimed run of the same."""
    return {name: [round(1e3 * each, 4) for each in series]
            for name, series in interleaved(runs, rounds, WARMUP).items()}


def model_milliseconds(predictors: dict[str, Predictor], inputs: np.ndarray, batch_size: int,
                       rounds: int) -> dict[str, list[float]]:
    """Of each round, by model; `inputs`, float32 (n, 3, S, S), are gone through batch by batch.

    What is left of them for less than a batch is not used.
    """
    batches = [inputs[start:start + batch_size]
               for start in range(0, len(inputs) - batch_size + 1, batch_size)]

    def run(predictor: Predictor, index: int) -> None:
        predictor(batches[index % len(batches)])

    return milliseconds({name: partial(run, predictor)
                         for name, predictor in predictors.items()}, rounds)


def ratio(slow: list[float], fast: list[float]) -> tuple[float, float, float]:
    """How many times as fast, round by round: median, 10th and 90th percentile."""
    median, low, high = np.percentile(np.divide(slow, fast), (50, 10, 90))
    return float(median), float(low), float(high)


def ratio_cell(slow: list[float], fast: list[float]) -> str:
    """`ratio` as tables have it."""
    return "{:.2f}× ({:.2f} to {:.2f})".format(*ratio(slow, fast))
