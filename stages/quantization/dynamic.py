"""Dynamic quantization, as the student's report did it: INT8 weights, ranges found at run time."""

from pathlib import Path

from onnxruntime.quantization import QuantType, quantize_dynamic

from stages.config.schema import Recipe
from stages.quantization.source import load_float_model


def quantize_dynamically(source: Path, target: Path, recipe: Recipe) -> None:
    """Write `source` with its weights quantized to `target`.

    Raises:
        UserError: a model that can't be quantized.
    """
    quantize_dynamic(load_float_model(source), target, weight_type=QuantType[recipe.weight_type],
                     per_channel=recipe.per_channel)
