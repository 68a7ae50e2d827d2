"""Dynamic quantization, as the report did it: weights stored as INT8, ranges found at run time."""

from pathlib import Path

from onnxruntime.quantization import QuantType, quantize_dynamic

from stages.config.schema import Recipe
from stages.quantization.source import load_float_model


def quantize_dynamically(source: Path, target: Path, params: Recipe) -> None:
    """Write `source` with its weights quantized to `target`.

    Raises:
        UserError: a model that can't be quantized.
    """
    load_float_model(source)
    quantize_dynamic(source, target, weight_type=QuantType[params.weight_type],
                     per_channel=params.per_channel)
