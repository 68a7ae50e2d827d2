"""What rounding its weights adds to a layer's output on average goes off the layer's bias.

Source: M. Nagel et al., Data-free quantization through weight equalization and bias correction,
2019, section 4.2; here the mean is taken over calibration pictures.
"""

import copy
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from stages.inference.session import open_session
from stages.onnx_graph.attributes import attributes
from stages.onnx_graph.layers import arrays_of, weighted_layers, weights_of
from stages.quantization.stored_weights import dequantized_weights


def with_corrected_biases(model: onnx.ModelProto, quantized: onnx.ModelProto,
                          feeds: Iterable[dict[str, np.ndarray]]) -> onnx.ModelProto:
    """A copy of the float `model` whose biases make up for the weights of `quantized`.

    Convolutions and fully connected layers with a constant bias, or none, are corrected.

    Args:
        quantized: `model` as QDQ.
        feeds: batches by the name of the model's input; one is held at a time.
    """
    rounded = dequantized_weights(quantized)
    errors = mean_errors(model, rounded, feeds)
    result = copy.deepcopy(model)
    constants = arrays_of(model)
    for node, _ in weighted_layers(result):
        output = node.output[0]
        name = node.input[2] if len(node.input) > 2 else ""
        if output not in errors or (name and name not in constants):
            continue
        bias = constants[name] if name else np.zeros_like(errors[output])
        # A bias of its own: exporters let layers share equal ones.
        corrected = f"{output}_corrected_bias"
        result.graph.initializer.append(numpy_helper.from_array(
            (bias - errors[output] / _beta(node)).astype(np.float32), corrected))
        del node.input[2:]
        node.input.append(corrected)
    return result


def mean_errors(model: onnx.ModelProto, rounded: dict[str, np.ndarray],
                feeds: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Mean difference that `rounded` weights make to a layer, by the name of its output.

    Every layer gets the float model's input; float64, shape (channels,), over pictures and space.
    """
    probed, outputs = _with_error_outputs(model, rounded)
    if not outputs:  # a model of MatMul alone
        return {}
    session = open_session(probed.SerializeToString())
    sums, counts = dict.fromkeys(outputs, 0.0), dict.fromkeys(outputs, 0)
    for feed in feeds:
        for name, means in zip(outputs, session.run(list(outputs.values()), feed), strict=True):
            sums[name] += means.reshape(means.shape[:2]).sum(axis=0, dtype=np.float64)
            counts[name] += len(means)
    return {name: total / counts[name] for name, total in sums.items()}


def _with_error_outputs(model: onnx.ModelProto, rounded: dict[str, np.ndarray]
                        ) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Give every layer a twin with the error of its weights, and put out what the twin says.

    Returns:
        The model, and by the output of each layer the name of its twin's, a mean over space.
    """
    probed = copy.deepcopy(model)
    del probed.graph.output[:]
    weights, outputs = weights_of(model), {}
    for node, name in weighted_layers(model):
        if name not in rounded:
            continue
        output = node.output[0]
        error, weight, outputs[output] = (f"{output}_{end}" for end in (
            "error", "weight_error", "mean_error"))
        probed.graph.initializer.append(numpy_helper.from_array(
            (rounded[name] - weights[name]).astype(np.float32), weight))
        twin = probed.graph.node.add()
        twin.CopyFrom(node)
        twin.name, twin.output[0] = error, error
        del twin.input[1:]
        twin.input.append(weight)
        # A pool leaves a row for each picture; a Gemm puts out one, or one for each of its patches.
        probed.graph.node.append(helper.make_node(
            "GlobalAveragePool" if node.op_type == "Conv" else "Identity",
            [error], [outputs[output]]))
        probed.graph.output.append(helper.make_empty_tensor_value_info(outputs[output]))
    return probed, outputs


def _beta(node: onnx.NodeProto) -> float:
    """The factor of the bias of a Gemm; 1 for a Conv."""
    return attributes(node).get("beta", 1.0)
