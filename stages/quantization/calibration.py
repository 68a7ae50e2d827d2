"""Ranges of activations over calibration pictures, in memory that does not grow with their number.

The pictures run through the float model batch by batch; what is kept of a tensor is its smallest
and largest value, or a histogram.
"""

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibraterBase,
    CalibrationDataReader,
    CalibrationMethod,
    MinMaxCalibrater,
    TensorData,
    TensorsData,
)
from onnxruntime.quantization.calibrate import HistogramCalibrater

from stages.config.errors import UserError
from stages.onnx_graph.audit import KNOWN
from stages.quantization.histogram import BINS, Histogram
from stages.quantization.ranges import PERCENTILE, RANGE_OF, Range

OPERATORS = sorted(KNOWN)  # what quantize_static quantizes when it is not told otherwise


class FeedReader(CalibrationDataReader):
    """Hands batches to a calibrator, which takes all that its reader has at once."""

    def __init__(self, feeds: Iterable[dict[str, np.ndarray]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


class StreamingHistogramCalibrater(HistogramCalibrater):
    """ONNX Runtime's calibrator with histograms that are filled batch by batch.

    Its own keeps every activation of every batch until the last one.
    """

    def __init__(self, model: Path, augmented: Path, method: str) -> None:
        super().__init__(model, OPERATORS, str(augmented))
        self.method = method
        self.histograms: dict[str, Histogram] = {}

    def collect_data(self, data_reader: CalibrationDataReader) -> None:
        """Count the activations of every batch.

        Raises:
            UserError: an activation is not finite.
        """
        names = sorted(self.tensors_to_calibrate)
        while feed := data_reader.get_next():
            for name, values in zip(names, self.infer_session.run(names, feed), strict=True):
                if not np.isfinite(values).all():
                    raise _not_finite(name)
                self.histograms.setdefault(name, Histogram()).update(values)

    def compute_data(self) -> TensorsData:
        return TensorsData(CalibrationMethod.MinMax, {
            name: TensorData(lowest=lowest, highest=highest) for name, (lowest, highest) in
            ((name, RANGE_OF[self.method](each)) for name, each in self.histograms.items())})


def calibrate(model: onnx.ModelProto, method: str, feeds: Iterable[dict[str, np.ndarray]]
              ) -> dict[str, Range]:
    """Find the range of every tensor that quantization may need, in the order of the graph.

    Args:
        method: minmax, or logits, which starts from the same ranges, or a key of RANGE_OF.
        feeds: batches by the name of the model's input; one is held at a time.

    Raises:
        UserError: an activation is not finite; minmax passes over NaN.
    """
    with TemporaryDirectory() as folder:
        source, augmented = Path(folder) / "model.onnx", Path(folder) / "augmented.onnx"
        onnx.save(model, source)
        calibrater = _calibrater(source, augmented, method)
        calibrater.augment_graph()
        calibrater.create_inference_session()
        with warnings.catch_warnings():
            # NumPy's, of an axis that is all NaN, which ends in a line of our own below.
            warnings.simplefilter("ignore", RuntimeWarning)
            for feed in feeds:
                calibrater.collect_data(FeedReader([feed]))
        found = calibrater.compute_data()
    return {name: _range(name, found[name]) for name in _tensors(model) if name in found}


def record(method: str, positions: np.ndarray, ranges: dict[str, Range]) -> dict[str, Any]:
    """What was calibrated how, on which pictures of the array file, and what came out.

    The ranges are what the quantizer is told; what only moves values it rounds by the range of what
    that reads, and Softmax from 0 to 1.
    """
    settings = {"bins": BINS} if method in RANGE_OF else {}
    if method == "percentile":
        settings["percentile"] = PERCENTILE
    return {"method": method, **settings, "images": len(positions),
            "positions": positions.tolist(),
            "ranges": [{"tensor": name, "lowest": float(lowest), "highest": float(highest)}
                       for name, (lowest, highest) in ranges.items()]}


def _calibrater(model: Path, augmented: Path, method: str) -> CalibraterBase:
    if method in RANGE_OF:
        return StreamingHistogramCalibrater(model, augmented, method)
    return MinMaxCalibrater(model, OPERATORS, str(augmented))


def _tensors(model: onnx.ModelProto) -> Iterator[str]:
    """The names of the tensors of `model`, inputs first, then as nodes put them out."""
    yield from (value.name for value in model.graph.input)
    for node in model.graph.node:
        yield from node.output


def _range(name: str, data: TensorData) -> Range:
    lowest, highest = (np.float32(np.squeeze(each)) for each in data.range_value)
    if not np.isfinite([lowest, highest]).all():
        raise _not_finite(name)
    return lowest, highest


def _not_finite(name: str) -> UserError:
    return UserError(f"calibration: activation '{name}' of the float model is not finite; "
                     "train it again, or with a lower train.lr")
