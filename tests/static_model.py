"""A static INT8 model of some pictures, without the rest of a variant."""

from stages.quantization.static import Calibrated


def quantize_statically(source, target, recipe, model, pictures):
    """Write the float model at `source` as INT8 to `target`; the range of every tensor."""
    base = Calibrated.of(source, recipe, model, pictures)
    base.write(target)
    return base.ranges
