"""Running what a peer made, with the same number of threads as everything else."""

from pathlib import Path

import numpy as np

from stages.inference.cpu import thread_count


def size_mb(path: Path) -> float:
    """Of the model on disk; OpenVINO keeps the weights in a file beside."""
    weights = path.with_suffix(".bin")
    beside = weights.stat().st_size if path.suffix == ".xml" else 0
    return (path.stat().st_size + beside) / 1e6


class OpenVinoModel:
    """The model at `path`, compiled for each batch size when a batch of it first comes.

    properties: of OpenVINO's, to compile by; all else is left as it comes.
    """

    def __init__(self, path: Path, properties: dict[str, str]) -> None:
        import openvino

        self._core, self._path = openvino.Core(), path
        self._properties = {"INFERENCE_NUM_THREADS": thread_count(), "NUM_STREAMS": 1,
                            **properties}
        self._compiled = {}
        self.precision = ""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """From float32 (B, 3, S, S) to logits, float32 (B, classes)."""
        if len(batch) not in self._compiled:
            model = self._core.read_model(self._path)
            model.reshape(batch.shape)
            compiled = self._core.compile_model(model, "CPU", self._properties)
            self.precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
            self._compiled[len(batch)] = compiled
        return self._compiled[len(batch)](batch)[0]
