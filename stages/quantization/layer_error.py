"""Error by layer: what a changed model puts out at every weighted layer, against the original."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime

from stages.measurement.noise import decibels, power
from stages.onnx_graph.layers import weighted_layers
from stages.onnx_graph.probe import open_probed

# What ONNX Runtime's quantizer calls a tensor behind its rounding.
ROUNDED = "_DequantizeLinear_Output"


def layer_outputs(model: onnx.ModelProto) -> list[str]:
    """The output of each weighted layer, before its activation."""
    return [node.output[0] for node, _ in weighted_layers(model)]


def _opened(model: onnx.ModelProto, names: Sequence[str], **more: Any
            ) -> tuple[onnxruntime.InferenceSession, list[str]]:
    """A session that gives the tensors `names` or, where they are rounded, what is left of them;
    and what these are called, "" for one that `model` has not.
    """
    made = {output for node in model.graph.node for output in node.output}
    found = [next((each for each in (name + ROUNDED, name) if each in made), "")
             for name in names]
    return open_probed(model, list(dict.fromkeys(filter(None, found))), **more), found


def output_snr_db(model: onnx.ModelProto, changed: onnx.ModelProto, batches: list[np.ndarray],
                  names: Sequence[str] | None = None, **more: Any) -> list[float]:
    """Signal-to-noise ratio, in dB, of tensors in `changed`; NaN for one that it has not.

    Args:
        model: the original.
        batches: float32 inputs (B, 3, S, S), run one by one, so that memory holds one batch.
        names: of tensors of `model`; without them, those of `layer_outputs`.
        more: options of the session that `changed` runs in, by name.
    """
    names = list(names if names is not None else layer_outputs(model))
    sessions = [_opened(model, names), _opened(changed, names, **more)]
    there = [index for index, name in enumerate(sessions[1][1]) if name]
    signal, noise = np.full((2, len(names)), np.nan)
    signal[there] = noise[there] = 0
    for batch in batches:
        outputs = [session.run([found[index] for index in there],
                               {session.get_inputs()[0].name: batch})
                   for session, found in sessions]
        for index, reference, actual in zip(there, *outputs, strict=True):
            signal[index] += power(reference)
            noise[index] += power(reference - actual)
    return decibels(signal, noise).tolist()
