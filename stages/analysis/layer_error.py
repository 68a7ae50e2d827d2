"""Error by layer: what a changed model puts out at every weighted layer, against the original."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd

from stages.analysis.rounding import channel_spread, round_weights, with_rounded_weights
from stages.config.schema import Model
from stages.data.dataset import Dataset
from stages.inference.predictor import in_batches, model_input
from stages.measurement.noise import decibels, power, signal_to_noise_db
from stages.onnx_graph.layers import COUNTED, weighted_layers, weights_of
from stages.onnx_graph.probe import open_probed

log = logging.getLogger(__name__)

BATCH, BATCHES = 32, 4
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


def layer_table(model: onnx.ModelProto, dataset: Dataset, params: Model) -> pd.DataFrame:
    """Each layer's spread of channels, and the error of its weights and of its output, in dB."""
    batches = [model_input(batch, params) for batch in in_batches(
        dataset.some("calibration", BATCH * BATCHES), BATCH)]
    weights = weights_of(model)
    table = pd.DataFrame([{"layer": name, "channel_spread": channel_spread(weights[name])}
                          for _, name in weighted_layers(model)])
    for per_channel, label in ((False, "per_tensor"), (True, "per_channel")):
        table[f"weight_snr_db_{label}"] = [
            signal_to_noise_db(weights[name], round_weights(weights[name],
                                                            per_channel=per_channel))
            for name in table.layer]
        table[f"output_snr_db_{label}"] = output_snr_db(
            model, with_rounded_weights(model, per_channel=per_channel), batches)
    return table.rename_axis("position").reset_index()


def layers_left_out(model: onnx.ModelProto) -> dict[str, int]:
    """The number of layers that rows of one factor leave out: MatMul, and a Gemm without transB.

    Empty where there are none.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    left = sum(node.op_type in COUNTED and node.input[1] in constants
               for node in model.graph.node) - len(weighted_layers(model))
    if left:
        log.warning("%d layers (MatMul, or Gemm without transB) are not taken apart: see "
                    "docs/report.md", left)
    return {"layers_left_out": left} if left else {}
