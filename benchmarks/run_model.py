"""Run an ONNX model on an array of inputs; imports little, for it runs on an emulated CPU too."""

import json
import logging
import sys
import time
from pathlib import Path

import numpy as np

from stages.inference import saturation
from stages.inference.session import metadata_of, open_session, predictor_of, recipe_in

BATCH = 10


def logits_of(path: Path, inputs: np.ndarray) -> tuple[np.ndarray, float]:
    """Float32 (n, classes) of inputs (n, 3, S, S), on one thread, and its seconds of the CPU."""
    session = open_session(path, threads=1)
    saturation.warn_if_saturating(path, recipe_in(metadata_of(session, path)))
    predictor, start = predictor_of(session), time.process_time()
    logits = [predictor(inputs[first:first + BATCH]) for first in range(0, len(inputs), BATCH)]
    return np.concatenate(logits), time.process_time() - start


class Kept(logging.Handler):
    """Keeps the messages that are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def main() -> None:
    """`python -m benchmarks.run_model MODEL INPUTS LOGITS`: what is told of it goes to stdout."""
    path, inputs, kept = Path(sys.argv[1]), np.load(sys.argv[2]), Kept()
    saturation.log.addHandler(kept)
    logits, seconds = logits_of(path, inputs)
    np.save(sys.argv[3], logits)
    sys.stdout.write(json.dumps({
        "cpu_ms_a_picture": 1e3 * seconds / len(inputs),
        "saturates": saturation.products_saturate(),
        "warnings": [message.replace(f"{path.parent}/", "") for message in kept.messages]}))


if __name__ == "__main__":
    main()
