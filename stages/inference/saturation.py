"""Whether this CPU's sums can hold the products of INT8 weights, and whether a model needs it.

An x86 CPU with AVX2 or AVX-512 but without VNNI multiplies unsigned activations by signed weights
in pairs and adds the two products in 16 bits. Beyond a weight of 64 the sum can leave them and is
cut off, silently; signed activations, which become unsigned on the way, fare no better. Weights of
reduced range (7 bits) fit. VNNI, AMX and Arm's dot product add in 32 bits.
Source: ONNX Runtime, Quantize ONNX models, section on data types.
"""

import functools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

log = logging.getLogger(__name__)

# The model product = MatMulInteger(left, right), uint8 by int8: here, as who classifies pictures
# need not have the package onnx. tests/inference/test_saturation.py makes it.
PRODUCT = (b'\x08\x08:\\\n%\n\x04left\n\x05right\x12\x07product"\rMatMulInteger\x12\x05probeZ\x0c'
           b'\n\x04left\x12\x04\n\x02\x08\x02Z\r\n\x05right\x12\x04\n\x02\x08\x03b\x0f'
           b'\n\x07product\x12\x04\n\x02\x08\x06B\x04\n\x00\x10\r')


# Options of a session in which a QDQ model cuts off no sums: up to this level nothing is fused into
# integer operators, and what was rounded is multiplied and added in float. A dynamic model has
# integer operators in its file, which run all the same.
EXACT_SUMS = {"graph_optimization_level": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC}


@functools.cache
def products_saturate() -> bool:
    """Whether ONNX Runtime cuts off sums of unsigned times signed integers on this CPU.

    Found by trying one product: that holds on any system, and for an emulated CPU too.
    """
    left, right = np.full((4, 64), 255, np.uint8), np.full((64, 16), 127, np.int8)
    session = onnxruntime.InferenceSession(PRODUCT, providers=["CPUExecutionProvider"])
    product = session.run(None, {"left": left, "right": right})[0]
    return not np.array_equal(product, left.astype(np.int32) @ right.astype(np.int32))


def cuts_off(*, weight_type: str, reduce_range: bool) -> bool:
    """Whether this CPU cuts off sums with such weights, of a model with static ranges."""
    return weight_type == "QInt8" and not reduce_range and products_saturate()


def exact_session(*, weight_type: str = "QInt8", reduce_range: bool = False) -> dict[str, Any]:
    """Options of a session, by name, in which no sum of a model with such weights is cut off.

    Those of the defaults suit a model with any weights.
    """
    return EXACT_SUMS if cuts_off(weight_type=weight_type, reduce_range=reduce_range) else {}


def warn_if_saturating(path: Path, recipe: Mapping[str, Any] | None) -> None:
    """Warn when the model at `path` has weights that this CPU's sums can't hold.

    Dynamic quantization is not warned of: its convolutions have the weights on the other side of
    the product, and give the same logits on such a CPU. Its matrix products could be cut off, but
    one step for all weights leaves few of them large: random ones of 64 and 384 inputs had the
    signal-to-noise ratio of exact sums.

    Args:
        recipe: that the model was quantized by, None of a float model.
    """
    if recipe and recipe.get("method") in ("static", "mixed") and cuts_off(
            weight_type=recipe.get("weight_type"), reduce_range=recipe.get("reduce_range")):
        log.warning("%s: on this CPU, which has no VNNI, sums with its INT8 weights are cut off, "
                    "and accuracy is lost; quantize it with reduce_range: true", path)
