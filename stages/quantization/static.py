"""Static quantization: ranges from calibration pictures, written as QDQ pairs."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationMethod,
    QuantFormat,
    QuantType,
    TensorData,
    TensorsData,
    quantize_static,
    save_tensors_data,
)

from stages.config.errors import UserError
from stages.config.schema import Model, QuantizedVariant
from stages.measurement.predictor import model_input
from stages.onnx_graph.names import INPUT
from stages.quantization.bias_correction import with_corrected_biases
from stages.quantization.calibration import calibrate
from stages.quantization.channel_floor import with_channel_floor
from stages.quantization.equalization import with_equalized_channels
from stages.quantization.flat_tails import cut_flat_tails
from stages.quantization.float_island import with_float_islands
from stages.quantization.ranges import Range
from stages.quantization.source import load_float_model

CALIBRATION_BATCH = 16


def feeds_of(pictures: Sequence[np.ndarray], params: Model) -> Iterator[dict[str, np.ndarray]]:
    """Feed uint8 pictures (n, H, W, 3) to a model's input, preprocessed batch by batch."""
    for start in range(0, len(pictures), CALIBRATION_BATCH):
        yield {INPUT: model_input(pictures[start:start + CALIBRATION_BATCH], params)}


def calibrated_model(source: Path, params: QuantizedVariant, model: Model,
                     pictures: Sequence[np.ndarray]) -> tuple[onnx.ModelProto, dict[str, Range]]:
    """The float model at `source`, ready to be quantized, and the range of every tensor.

    Args:
        pictures: uint8 (n, H, W, 3), sliced one batch at a time.

    Raises:
        UserError: a model that can't be quantized, or pictures that tell nothing.
    """
    float_model = load_float_model(source)
    _refuse_uniform(pictures)
    if params.equalization:
        float_model = with_equalized_channels(float_model, feeds_of(pictures, model),
                                              per_channel=params.per_channel)
    ranges = calibrate(float_model, params.calibration, feeds_of(pictures, model))
    if params.cut_flat_tails:
        ranges = cut_flat_tails(float_model, ranges)
    return with_channel_floor(float_model, ranges), ranges


def quantize_to_ranges(model: onnx.ModelProto, ranges: dict[str, Range], target: Path,
                       params: QuantizedVariant, feeds: Callable[[], Iterator[dict]],
                       exclude: Sequence[str] = ()) -> None:
    """Write `model`, calibrated already, to `target`; nodes named in `exclude` stay float.

    Args:
        feeds: gives the calibration pictures once more, which bias correction needs.
    """
    write_qdq(model, ranges, target, params, exclude)
    if params.bias_correction:
        corrected = with_corrected_biases(model, onnx.load(target), feeds())
        write_qdq(corrected, ranges, target, params, exclude)


def write_qdq(model: onnx.ModelProto, ranges: dict[str, Range], target: Path,
              params: QuantizedVariant, exclude: Sequence[str] = ()) -> None:
    """Have ONNX Runtime write `model` as QDQ; a calibration cache tells it the ranges."""
    with TemporaryDirectory() as folder:
        source, cache = Path(folder) / "model.onnx", Path(folder) / "ranges.json"
        onnx.save(model, source)
        # To the quantizer, MinMax means that the ranges are to be taken as they are.
        save_tensors_data(TensorsData(CalibrationMethod.MinMax, {
            name: TensorData(lowest=lowest, highest=highest)
            for name, (lowest, highest) in ranges.items()}), cache)
        quantize_static(source, target, calibration_cache_path=cache,
                        quant_format=QuantFormat.QDQ, calibrate_method=CalibrationMethod.MinMax,
                        activation_type=QuantType[params.activation_type],
                        weight_type=QuantType[params.weight_type],
                        per_channel=params.per_channel, reduce_range=params.reduce_range,
                        nodes_to_exclude=list(exclude))
    if exclude:
        onnx.save(with_float_islands(onnx.load(target), exclude), target)


def _refuse_uniform(pictures: Sequence[np.ndarray]) -> None:
    if not len(pictures):
        raise UserError("calibration: there are no pictures; run 'dvc repro prepare'")
    first = pictures[0]
    if all(np.array_equal(pictures[index], first) for index in range(1, len(pictures))):
        raise UserError(f"calibration: all pictures ({len(pictures)}) are the same, which tells "
                        "no range; look at the data, or raise data.calibration_size")
