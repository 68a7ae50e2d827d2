"""Hardware preflight: which INT8 arithmetic this CPU has, and whether a model's weights suit it.

An x86 CPU with AVX2 or AVX-512 but without VNNI multiplies unsigned activations by signed weights
in pairs and adds the two products in 16 bits. Beyond a weight of 64 the sum can leave them and is
cut off, silently; signed activations, which become unsigned on the way, fare no better. Weights of
reduced range (7 bits) fit. VNNI, AMX and Arm's dot product add in 32 bits.
Source: ONNX Runtime, Quantize ONNX models, section on data types.
"""

import functools
import json
import logging
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

log = logging.getLogger(__name__)

CPUINFO = Path("/proc/cpuinfo")
FLAGS = ("avx", "avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16",
         "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16")
ARM = ("arm64", "aarch64")
# The key of a model's metadata that holds, as JSON, the recipe it was quantized by.
RECIPE_KEY = "int8_recipe"
# The model product = MatMulInteger(left, right), uint8 by int8: here, as who classifies pictures
# need not have the package onnx. tests/measurement/test_preflight.py makes it.
PRODUCT = (b'\x08\x08:\\\n%\n\x04left\n\x05right\x12\x07product"\rMatMulInteger\x12\x05probeZ\x0c'
           b'\n\x04left\x12\x04\n\x02\x08\x02Z\r\n\x05right\x12\x04\n\x02\x08\x03b\x0f'
           b'\n\x07product\x12\x04\n\x02\x08\x06B\x04\n\x00\x10\r')


def cpu_fields(cpuinfo: Path = CPUINFO) -> dict[str, str]:
    """The fields of the first processor that the kernel lists; none where there is no such file."""
    if not cpuinfo.is_file():
        return {}
    first = cpuinfo.read_text(encoding="utf-8").split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in
            (line.partition(":") for line in first.splitlines())}


def cpu_flags(cpuinfo: Path = CPUINFO) -> list[str]:
    """Which of FLAGS this CPU has; none where the kernel does not say (macOS, Windows)."""
    fields = cpu_fields(cpuinfo)
    told = set((fields.get("flags") or fields.get("Features") or "").split())
    return [flag for flag in FLAGS if flag in told]


def integer_unit(flags: list[str], machine: str) -> str:
    """The best INT8 instructions among `flags`, by the name they are known by."""
    for unit, needed in (("AMX", {"amx_int8"}), ("VNNI", {"avx512_vnni", "avx_vnni"}),
                         ("AVX2", {"avx2"}), ("Arm dot product", {"asimddp", "i8mm"})):
        if needed & set(flags):
            return unit
    # Apple's and Microsoft's Arm computers have it, and their systems don't list it.
    if machine.lower() in ARM and platform.system() in ("Darwin", "Windows"):
        return "Arm dot product"
    return "unknown"


@functools.cache
def products_saturate() -> bool:
    """Whether ONNX Runtime cuts off sums of unsigned times signed integers on this CPU.

    Found by trying one product: that holds on any system, and for an emulated CPU too.
    """
    left, right = np.full((4, 64), 255, np.uint8), np.full((64, 16), 127, np.int8)
    session = onnxruntime.InferenceSession(PRODUCT, providers=["CPUExecutionProvider"])
    product = session.run(None, {"left": left, "right": right})[0]
    return not np.array_equal(product, left.astype(np.int32) @ right.astype(np.int32))


def recommended_preset(unit: str, saturates: bool) -> str:
    """The file of conf/quantize whose recipes suit a CPU.

    U8S8, of reduced range where sums are cut off, which loses a bit of every weight; on Arm S8S8.
    """
    if unit == "Arm dot product":
        return "int8_signed"
    return "int8_reduced_range" if saturates else "int8"


def recipe_in(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """The recipe that quantization left in the metadata of a model; None of a float model."""
    return json.loads(metadata.get(RECIPE_KEY, "null"))


def warn_if_saturating(path: Path, recipe: Mapping[str, Any] | None) -> None:
    """Warn when the model at `path` has weights that this CPU's sums can't hold.

    Dynamic quantization is not warned of: its convolutions have the weights on the other side of
    the product, and give the same logits on such a CPU.

    Args:
        recipe: that the model was quantized by, None of a float model.
    """
    if (recipe and recipe.get("method") in ("static", "mixed") and not recipe.get("reduce_range")
            and recipe.get("weight_type") == "QInt8" and products_saturate()):
        log.warning("%s: on this CPU, which has no VNNI, sums with its INT8 weights are cut off, "
                    "and accuracy is lost; quantize it with reduce_range: true", path)
