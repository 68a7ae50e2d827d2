"""Static quantization: ranges from calibration pictures, written as QDQ pairs."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from stages.config.schema import Model, QuantizedVariant
from stages.measurement.predictor import model_input

CALIBRATION_BATCH = 16


class PictureReader(CalibrationDataReader):
    """Feeds uint8 pictures (n, H, W, 3) to the calibrator, preprocessed batch by batch."""

    def __init__(self, pictures: np.ndarray, params: Model, input_name: str) -> None:
        self._batches = self._preprocessed(pictures, params, input_name)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)

    @staticmethod
    def _preprocessed(pictures: np.ndarray, params: Model, name: str
                      ) -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(pictures), CALIBRATION_BATCH):
            yield {name: model_input(pictures[start:start + CALIBRATION_BATCH], params)}


def quantize_statically(source: Path, target: Path, params: QuantizedVariant, model: Model,
                        pictures: np.ndarray, input_name: str) -> None:
    """Write `source`, quantized to ranges seen on `pictures`, to `target`."""
    quantize_static(source, target, PictureReader(pictures, model, input_name),
                    quant_format=QuantFormat.QDQ, calibrate_method=CalibrationMethod.MinMax,
                    activation_type=QuantType[params.activation_type],
                    weight_type=QuantType[params.weight_type], per_channel=params.per_channel)
