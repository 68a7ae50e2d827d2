"""Error by layer: what a changed model puts out at every weighted layer, against the original."""

import numpy as np
import onnx
import onnxruntime

from stages.quantization.rounding import weighted_layers

TINY = np.finfo(np.float64).tiny


def _with_layer_outputs(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    names = [node.output[0] for node, _ in weighted_layers(model)]
    final = {value.name for value in model.graph.output}
    opened.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name)
                               for name in names if name not in final)
    return opened, names


def output_snr_db(model: onnx.ModelProto, changed: onnx.ModelProto,
                  batches: list[np.ndarray]) -> list[float]:
    """Signal-to-noise ratio, in dB, of each weighted layer's output in `changed`.

    Args:
        model: the original; `changed` has the same layers in the same order.
        batches: float32 inputs (B, 3, S, S), run one by one, so that memory holds one batch.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    sessions = []
    for each in (model, changed):
        opened, names = _with_layer_outputs(each)
        sessions.append((onnxruntime.InferenceSession(
            opened.SerializeToString(), options, providers=["CPUExecutionProvider"]), names))
    signal, noise = np.zeros(len(names)), np.zeros(len(names))
    for batch in batches:
        outputs = [session.run(names, {session.get_inputs()[0].name: batch})
                   for session, names in sessions]
        for index, (reference, actual) in enumerate(zip(*outputs, strict=True)):
            signal[index] += np.square(reference, dtype=np.float64).sum()
            noise[index] += np.square(reference - actual, dtype=np.float64).sum()
    return (10 * (np.log10(signal) - np.log10(np.maximum(noise, TINY)))).tolist()
