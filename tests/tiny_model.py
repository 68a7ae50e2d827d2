"""A small classifier as an ONNX graph, made without PyTorch, and deployed as stages.deploy does."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization import quantize_static as ort_quantize_static

from stages.config.schema import Model
from stages.deployment import golden
from stages.deployment.metadata import describe
from stages.deployment.wrap import wrap
from stages.inference.session import open_session
from stages.quantization.calibration import FeedReader

CLASSES = ["left", "middle", "right"]
SIDE, RESOLUTION, CHANNELS = 16, 12, 8
PARAMS = Model(library="timm", name="tiny", weights="none", image_size=SIDE,
               mean=[0.4, 0.5, 0.6], std=[0.2, 0.25, 0.3])
BODIES = ("float", "static", "dynamic")


def tiny_body(opset: int = 18, seed: int = 0) -> onnx.ModelProto:
    """Convolution, ReLU6, pooling and a linear layer: float32 (batch, 3, SIDE, SIDE) to logits."""
    rng = np.random.default_rng(seed)
    shapes = {"kernel": (CHANNELS, 3, 3, 3), "bias": (CHANNELS,),
              "weight": (len(CLASSES), CHANNELS), "offset": (len(CLASSES),)}
    constants = {name: rng.standard_normal(shape).astype(np.float32)
                 for name, shape in shapes.items()}
    constants |= {"low": np.float32(0), "high": np.float32(6)}
    nodes = [helper.make_node("Conv", ["input", "kernel", "bias"], ["c"], pads=[1, 1, 1, 1],
                              strides=[2, 2], name="conv"),
             helper.make_node("Clip", ["c", "low", "high"], ["a"], name="clip"),
             helper.make_node("GlobalAveragePool", ["a"], ["p"], name="pool"),
             helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
             helper.make_node("Gemm", ["f", "weight", "offset"], ["logits"], transB=1, name="gemm")]
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(CLASSES)])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    return helper.make_model_gen_version(graph, opset_imports=[helper.make_opsetid("", opset)])


def write_body(folder: Path, kind: str, opset: int = 18) -> Path:
    """The tiny model as one of BODIES in `folder`."""
    source, target = folder / "float.onnx", folder / f"{kind}.onnx"
    onnx.save(tiny_body(opset), source)
    if kind == "static":
        batch = np.random.default_rng(0).standard_normal((8, 3, SIDE, SIDE)).astype(np.float32)
        ort_quantize_static(source, target, FeedReader([{"input": batch}]), per_channel=True)
    elif kind == "dynamic":
        quantize_dynamic(source, target, weight_type=QuantType.QInt8)
    return target


def facts(**changes: Any) -> dict[str, Any]:
    """What `deploy` puts into the metadata, but for the golden answers; `changes` override."""
    return {
        "classes": CLASSES,
        "preset": {"data": "bands", "resolution": RESOLUTION, "variant": "int8_static",
                   "opset": 18, "library": "timm", "name": "tiny", "image_size": SIDE,
                   "mean": PARAMS.mean, "std": PARAMS.std},
        "accuracy": {"images": 40, "accuracy": 0.875, "accuracy_ci95_low": 0.74,
                     "accuracy_ci95_high": 0.945, "validation_images": 30,
                     "validation_accuracy": 0.9},
        "calibration": {"method": "static", "weight_type": "QInt8", "activation_type": "QUInt8",
                        "per_channel": True, "reduce_range": False, "qat": None, "images": 20,
                        "positions_sha256": "0" * 64},
        **{f"{name}_sha256": digit * 64 for name, digit in
           (("parameters", "1"), ("data", "2"), ("fp32", "3"), ("variant", "4"))}, **changes}


def write_deployed(path: Path, kind: str = "float", **changes: Any) -> Path:
    """The tiny model, deployed at `path`; `changes` override its facts."""
    model = wrap(onnx.load(write_body(path.parent, kind)), PARAMS)
    sizes = golden.golden_sizes(RESOLUTION, SIDE)
    logits = golden.replay(open_session(model.SerializeToString()), sizes)
    made_by = {} if kind == "static" else {"calibration": None}
    describe(model, {**facts(**made_by | changes),
                     "golden": golden.record(logits, sizes, quantized=kind != "float")})
    onnx.save(model, path)
    return path
