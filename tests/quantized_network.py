"""The networks of inverted_residual.py as ONNX Runtime quantizes them, and their logits."""

import numpy as np
import onnx
from inverted_residual import SIDE
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from run_onnx import run

from stages.quantization.calibration import FeedReader


def pictures(count, channels=3):
    return np.random.default_rng(1).standard_normal((count, channels, SIDE, SIDE)).astype(
        np.float32)


def quantized(model, folder, activation_type=QuantType.QUInt8, **options):
    """`model` in QDQ form, weights per channel, and of 7 bits, whose sums are whole on any CPU."""
    onnx.save(model, folder / "float.onnx")
    quantize_static(folder / "float.onnx", folder / "int8.onnx",
                    FeedReader([{"input": pictures(8)}]), quant_format=QuantFormat.QDQ,
                    per_channel=True, reduce_range=True, activation_type=activation_type,
                    **options)
    return onnx.load(folder / "int8.onnx")


def logits(model, batch):
    return run(model, {"input": batch})[0]
