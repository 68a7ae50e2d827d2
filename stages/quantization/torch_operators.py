"""The ONNX operators that fine-tuning runs in PyTorch, each as a differentiable function."""

from collections.abc import Callable

import onnx
import torch
from torch.nn import functional

from stages.onnx_graph.attributes import attributes


def _convolution(inputs: list, options: dict) -> torch.Tensor:
    picture, weight, *bias = inputs
    top, left, bottom, right = options.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        picture = functional.pad(picture, (left, right, top, bottom))
        top = left = 0
    return functional.conv2d(picture, weight, bias[0] if bias else None,
                             options.get("strides", 1), (top, left),
                             options.get("dilations", 1), options.get("group", 1))


def _max_pool(inputs: list, options: dict) -> torch.Tensor:
    top, left, bottom, right = options.get("pads", (0, 0, 0, 0))
    picture = functional.pad(inputs[0], (left, right, top, bottom), value=-torch.inf)
    return functional.max_pool2d(picture, options["kernel_shape"], options.get("strides", 1),
                                 dilation=options.get("dilations", 1),
                                 ceil_mode=bool(options.get("ceil_mode", 0)))


def _hard_sigmoid(inputs: list, options: dict) -> torch.Tensor:
    return (options.get("alpha", 0.2) * inputs[0] + options.get("beta", 0.5)).clamp(0, 1)


def _gemm(inputs: list, options: dict) -> torch.Tensor:
    left, right, *bias = inputs
    left = left.t() if options.get("transA") else left
    right = right.t() if options.get("transB") else right
    result = options.get("alpha", 1.0) * (left @ right)
    return result + options.get("beta", 1.0) * bias[0] if bias else result


def _clip(inputs: list, options: dict) -> torch.Tensor:
    picture, low, high = [*inputs, None, None][:3]
    return picture.clamp(low, high)


def _reshape(inputs: list, options: dict) -> torch.Tensor:
    picture, shape = inputs
    sizes = [picture.shape[index] if size == 0 and not options.get("allowzero") else size
             for index, size in enumerate(shape.tolist())]
    return picture.reshape(sizes)


OPERATORS: dict[str, Callable[[list, dict], torch.Tensor]] = {
    "Conv": _convolution,
    "Gemm": _gemm,
    "Clip": _clip,
    "Reshape": _reshape,
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    "Mul": lambda inputs, _: inputs[0] * inputs[1],
    "Relu": lambda inputs, _: inputs[0].relu(),
    "Sigmoid": lambda inputs, _: inputs[0].sigmoid(),
    "HardSigmoid": _hard_sigmoid,
    "MaxPool": _max_pool,
    "Concat": lambda inputs, options: torch.cat(inputs, options["axis"]),
    "HardSwish": lambda inputs, _: functional.hardswish(inputs[0]),
    "Flatten": lambda inputs, options: inputs[0].flatten(options.get("axis", 1)),
    "GlobalAveragePool": lambda inputs, _: inputs[0].mean((2, 3), keepdim=True),
}


def not_tunable(quantized: onnx.ModelProto) -> list[str]:
    """What of a QDQ graph fine-tuning does not know, in order."""
    unknown = ({node.op_type for node in quantized.graph.node} - OPERATORS.keys()
               - {"QuantizeLinear", "DequantizeLinear"})
    windows = [attributes(node) for node in quantized.graph.node
               if node.op_type in ("Conv", "MaxPool")]
    sides = {len(window.get("kernel_shape", (1, 1))) for window in windows}
    padded = {window.get("auto_pad", b"NOTSET").decode() for window in windows}
    return sorted(unknown | {f"Conv or MaxPool over {count} sides" for count in sides - {2}}
                  | {f"Conv or MaxPool of auto_pad {way}" for way in padded - {"NOTSET"}})
