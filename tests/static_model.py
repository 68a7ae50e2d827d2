"""A static INT8 model of some pictures, without the rest of a variant."""

from functools import partial

from stages.quantization.static import calibrated_model, feeds_of, quantize_to_ranges


def quantize_statically(source, target, recipe, model, pictures):
    """Write the float model at `source` as INT8 to `target`; the range of every tensor."""
    prepared, ranges = calibrated_model(source, recipe, model, pictures)
    quantize_to_ranges(prepared, ranges, target, recipe,
                       partial(feeds_of, pictures, model))
    return ranges
