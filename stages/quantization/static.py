"""Static quantization: ranges from calibration pictures, written as QDQ pairs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from stages.config.schema import Model, Recipe
from stages.data.dataset import evenly
from stages.inference.predictor import (
    check_finite,
    in_batches,
    load_onnx,
    model_input,
    predict,
)
from stages.inference.session import open_session, predictor_of
from stages.onnx_graph.layers import arrays_of
from stages.onnx_graph.names import INPUT
from stages.onnx_graph.readers import readers_of
from stages.quantization.bias_correction import with_corrected_biases
from stages.quantization.calibration import calibrate
from stages.quantization.channel_floor import with_channel_floor
from stages.quantization.equalization import with_equalized_channels
from stages.quantization.flat_tails import cut_flat_tails
from stages.quantization.float_island import with_float_islands
from stages.quantization.narrowing import narrow_ranges
from stages.quantization.ranges import LARGEST_REDUCED_WEIGHT, LARGEST_WEIGHT, Range
from stages.quantization.source import load_float_model

CALIBRATION_BATCH = 16
# Calibration pictures that the prepared graph is held to the float one on, and how far, in parts of
# the largest logit, its own may be from those.
COMPARED, TOLERANCE = 64, 1e-3
# Calibration pictures whose logits say how narrow a range may be, with calibration: logits.
NARROWED_ON = 32


def feeds_of(pictures: Sequence[np.ndarray], params: Model) -> Iterator[dict[str, np.ndarray]]:
    """Feed uint8 pictures (n, H, W, 3) to a model's input, preprocessed batch by batch."""
    for batch in in_batches(pictures, CALIBRATION_BATCH):
        yield {INPUT: model_input(batch, params)}


@dataclass(frozen=True)
class Calibrated:
    """A float model that is ready to be quantized by a recipe.

    source: its file, as export wrote it.
    model: the graph that is quantized; ranges: of every tensor of it.
    pictures: that it was calibrated on, uint8 (n, H, W, 3).
    max_abs_diff: of a logit of `model` from that of the float model, on some of them.
    """

    source: Path
    model: onnx.ModelProto
    ranges: dict[str, Range]
    recipe: Recipe
    params: Model
    pictures: Sequence[np.ndarray]
    max_abs_diff: float

    @classmethod
    def of(cls, source: Path, recipe: Recipe, params: Model,
           pictures: Sequence[np.ndarray]) -> "Calibrated":
        """Prepare the float model at `source`; `pictures` are sliced one batch at a time.

        Raises:
            UserError: a model that can't be quantized, or whose function preparation would
                change, or pictures that tell nothing.
        """
        model = load_float_model(source)
        _refuse_other_size(model, params.image_size, source)
        _refuse_uniform(pictures)
        expected = float_logits(source, pictures, params)
        if recipe.equalization:
            model = with_equalized_channels(
                model, feeds_of(pictures, params), per_channel=recipe.per_channel,
                largest_weight=LARGEST_REDUCED_WEIGHT if recipe.reduce_range else LARGEST_WEIGHT)
        ranges = activation_ranges(model, recipe, params, pictures)
        model = with_channel_floor(model, ranges)
        return cls(source, model, ranges, recipe, params, pictures,
                   _largest_difference(source, expected[:COMPARED], model, pictures[:COMPARED],
                                       params))

    def write(self, target: Path, exclude: Sequence[str] = ()) -> None:
        """Write it, quantized, to `target`; nodes named in `exclude` stay float."""
        write_qdq(self.model, self.ranges, target, self.recipe, exclude)
        if self.recipe.bias_correction:
            corrected = with_corrected_biases(self.model, onnx.load(target),
                                              feeds_of(self.pictures, self.params))
            write_qdq(corrected, self.ranges, target, self.recipe, exclude)


def activation_ranges(model: onnx.ModelProto, recipe: Recipe, params: Model,
                      pictures: Sequence[np.ndarray]) -> dict[str, Range]:
    """The range of every tensor of the float `model`, as `recipe` finds it on `pictures`.

    Raises:
        UserError: an activation is not finite.
    """
    ranges = calibrate(model, recipe.calibration, feeds_of(pictures, params))
    if recipe.cut_flat_tails:
        ranges = cut_flat_tails(model, ranges)
    if recipe.calibration == "logits":
        sample = pictures[evenly(np.arange(len(pictures)), NARROWED_ON)]
        ranges = narrow_ranges(model, ranges, rounded_tensors(model, ranges, recipe),
                               list(feeds_of(sample, params)))
    return ranges


def write_qdq(model: onnx.ModelProto, ranges: dict[str, Range], target: Path,
              recipe: Recipe, exclude: Sequence[str] = ()) -> None:
    """Have ONNX Runtime write `model` as QDQ; a calibration cache tells it the ranges."""
    exclude = [*exclude, *divisors(model), *clips_without_zero(model)]
    with TemporaryDirectory() as folder:
        source, cache = Path(folder) / "model.onnx", Path(folder) / "ranges.json"
        onnx.save(model, source)
        # To the quantizer, MinMax means that the ranges are to be taken as they are.
        save_tensors_data(TensorsData(CalibrationMethod.MinMax, {
            name: TensorData(lowest=lowest, highest=highest)
            for name, (lowest, highest) in ranges.items()}), cache)
        quantize_static(source, target, calibration_cache_path=cache,
                        quant_format=QuantFormat.QDQ, calibrate_method=CalibrationMethod.MinMax,
                        activation_type=QuantType[recipe.activation_type],
                        weight_type=QuantType[recipe.weight_type],
                        per_channel=recipe.per_channel, reduce_range=recipe.reduce_range,
                        nodes_to_exclude=exclude)
    if exclude:
        onnx.save(with_float_islands(onnx.load(target), exclude), target)


def rounded_tensors(model: onnx.ModelProto, ranges: dict[str, Range], recipe: Recipe) -> list[str]:
    """Names of the tensors of `model` that `write_qdq` rounds by their own range, but for weights.

    What only moves values (Reshape, MaxPool) is rounded by the range of what it reads.
    """
    with TemporaryDirectory() as folder:
        target = Path(folder) / "quantized.onnx"
        write_qdq(model, ranges, target, recipe)
        nodes = onnx.load(target).graph.node
    return [node.input[0] for node in nodes if node.op_type == "QuantizeLinear"
            and node.input[1] == f"{node.input[0]}_scale"]


def divisors(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that do nothing but make what is divided by, or has its root or logarithm
    taken, as the variance of a norm that is written out. They stay float.

    Rounded to 256 steps, what is small would become zero, and a quotient infinite.
    """
    readers, found, constants = readers_of(model.graph), set(), arrays_of(model)

    def needs_what_is_small(reader: onnx.NodeProto, name: str) -> bool:
        if reader.name in found or reader.op_type in ("Sqrt", "Reciprocal", "Log"):
            return True
        if reader.op_type == "Pow" and reader.input[0] == name:  # a root or a quotient, maybe
            power = constants.get(reader.input[1], 1)
            return bool(np.any(np.less(power, 0) | (np.mod(power, 1) != 0)))
        return reader.op_type == "Div" and reader.input[0] != name

    for node in reversed(model.graph.node):
        name = node.output[0]
        if (reading := readers.get(name)) and all(needs_what_is_small(reader, name)
                                                  for reader in reading):
            found.add(node.name)
    return [node.name for node in model.graph.node if node.name in found]


def clips_without_zero(model: onnx.ModelProto) -> list[str]:
    """Names of the Clip nodes that let no zero through. They stay float.

    The quantizer takes a Clip for the range of its INT8 output, and every such range has zero.
    """
    constants = arrays_of(model)

    def bound(node: onnx.NodeProto, index: int) -> float:
        return float(constants.get(node.input[index] if len(node.input) > index else "", 0))

    return [node.name for node in model.graph.node
            if node.op_type == "Clip" and (bound(node, 1) > 0 or bound(node, 2) < 0)]


def float_logits(source: Path, pictures: Sequence[np.ndarray], params: Model) -> np.ndarray:
    """Of the float model at `source`: float32 (n, classes).

    Raises:
        UserError: one is not finite.
    """
    logits = predict(load_onnx(source), pictures, params)
    check_finite(logits, source)
    return logits


def _largest_difference(source: Path, expected: np.ndarray, prepared: onnx.ModelProto,
                        pictures: Sequence[np.ndarray], params: Model) -> float:
    """Of a logit of `prepared` from that of the float model at `source`, which is `expected`.

    Raises:
        UserError: it is above TOLERANCE.
    """
    session = open_session(prepared.SerializeToString())
    difference = float(np.abs(predict(predictor_of(session), pictures, params) - expected).max())
    if not difference <= TOLERANCE * np.abs(expected).max():
        raise UserError(f"{source}: preparing it for quantization changes a logit by up to "
                        f"{difference:.2g}, of {np.abs(expected).max():.2g} at most; "
                        "equalization: false in the recipe leaves most of that out")
    return difference


def _refuse_other_size(model: onnx.ModelProto, image_size: int, source: Path) -> None:
    shape = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim][1:]
    if shape != [3, image_size, image_size]:
        raise UserError(f"{source}: takes pictures of {' by '.join(map(str, shape))}, not of 3 by "
                        f"{image_size} by {image_size}; set model.image_size, or run 'dvc repro "
                        "export'")


def _refuse_uniform(pictures: Sequence[np.ndarray]) -> None:
    if not len(pictures):
        raise UserError("calibration: there are no pictures; run 'dvc repro prepare'")
    first = pictures[0]
    if all(np.array_equal(pictures[index], first) for index in range(1, len(pictures))):
        raise UserError(f"calibration: all pictures ({len(pictures)}) are the same, which tells "
                        "no range; look at the data, or raise data.calibration_size")
