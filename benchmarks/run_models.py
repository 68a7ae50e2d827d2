"""Run ONNX models on one array of inputs; imports little, for it is also run on an emulated CPU."""

import json
import logging
import sys
import time
from pathlib import Path

import numpy as np

from stages.measurement import saturation
from stages.measurement.session import metadata_of, open_session, predictor_of

BATCH = 10


def logits_of(path: Path, inputs: np.ndarray) -> np.ndarray:
    """Float32 (n, classes) of inputs (n, 3, S, S), on one thread."""
    session = open_session(path, threads=1)
    saturation.warn_if_saturating(path, saturation.recipe_in(metadata_of(session, path)))
    predictor = predictor_of(session)
    return np.concatenate([predictor(inputs[start:start + BATCH])
                           for start in range(0, len(inputs), BATCH)])


class Kept(logging.Handler):
    """Keeps the messages that are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def main() -> None:
    """`python -m benchmarks.run_models FOLDER NAME`: logits of each model there, as NAME_*.npy."""
    folder, name = Path(sys.argv[1]), sys.argv[2]
    inputs, kept, told = np.load(folder / "inputs.npy"), Kept(), {}
    saturation.log.addHandler(kept)
    for path in sorted(folder.glob("*.onnx")):
        kept.messages.clear()
        start = time.process_time()
        np.save(folder / f"{name}_{path.stem}.npy", logits_of(path, inputs))
        told[path.stem] = {"cpu_ms_a_picture": 1e3 * (time.process_time() - start) / len(inputs),
                           "warnings": [message.replace(f"{folder}/", "")
                                        for message in kept.messages]}
    sys.stdout.write(json.dumps({"saturates": saturation.products_saturate(), "models": told}))


if __name__ == "__main__":
    main()
