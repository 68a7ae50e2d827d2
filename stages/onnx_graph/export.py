"""From a PyTorch module to a clean ONNX graph with its labels and preprocessing in it."""

import copy
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
import torch
from torch import nn

from stages.config.errors import UserError
from stages.config.schema import Model
from stages.onnx_graph.clean import clean
from stages.onnx_graph.names import INPUT, OUTPUT
from stages.onnx_graph.padding import fix_same_padding

log = logging.getLogger(__name__)

OLDEST_DYNAMO_OPSET = 18
STDOUT = 1  # its file descriptor


def export_onnx(model: nn.Module, params: Model, classes: list[str], opset: int
                ) -> onnx.ModelProto:
    """Export `model`, which is left as it was.

    The graph takes float32 `input` (batch, 3, S, S), with any batch, and gives float32 `logits`
    (batch, classes). Its metadata holds class names, size, mean and std as JSON.

    Raises:
        UserError: the model has an operator that `opset` can't express.
    """
    model = copy.deepcopy(model).eval()
    fix_same_padding(model, params.image_size)
    example = torch.zeros(2, 3, params.image_size, params.image_size)
    exporter = _export_dynamo if opset >= OLDEST_DYNAMO_OPSET else _export_torchscript
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            proto = exporter(model, example, opset)
    except torch.onnx.errors.OnnxExporterError as error:
        newer = "; try 18" if opset < OLDEST_DYNAMO_OPSET else ""
        cause = error.__cause__ or error
        reason = (str(cause) or type(cause).__name__).splitlines()[0]
        raise UserError(f"export.opset: {params.name} can't be exported at opset {opset}: "
                        f"{reason}{newer}") from None
    proto = clean(proto)
    metadata = {"classes": json.dumps(classes), "model": params.name,
                "image_size": str(params.image_size),
                "mean": json.dumps(list(params.mean)), "std": json.dumps(list(params.std))}
    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _export_dynamo(model: nn.Module, example: torch.Tensor, opset: int) -> onnx.ModelProto:
    batch = torch.export.Dim("batch", min=1)
    program = torch.onnx.export(model, (example,), dynamo=True, opset_version=opset,
                                dynamic_shapes=({0: batch},), input_names=[INPUT],
                                output_names=[OUTPUT], verbose=False)
    return program.model_proto


def _export_torchscript(model: nn.Module, example: torch.Tensor, opset: int) -> onnx.ModelProto:
    buffer = io.BytesIO()
    with _nothing_on_stdout():
        torch.onnx.export(model, (example,), buffer, dynamo=False, opset_version=opset,
                          dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
                          input_names=[INPUT], output_names=[OUTPUT])
    return onnx.load_from_string(buffer.getvalue())


@contextmanager
def _nothing_on_stdout() -> Iterator[None]:
    """Silence stdout, also for C++ code, by which torch prints the whole graph on a failure."""
    sys.stdout.flush()
    stdout = os.dup(STDOUT)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STDOUT)
    try:
        yield
    finally:
        os.dup2(stdout, STDOUT)
        os.close(stdout)
        os.close(nowhere)


def parity(expected: np.ndarray, actual: np.ndarray) -> dict[str, float]:
    """How far `actual` logits are from `expected`, both of shape (n, classes)."""
    return {"images": len(expected),
            "max_abs_diff": float(np.abs(expected - actual).max()),
            "argmax_agreement": float((expected.argmax(1) == actual.argmax(1)).mean())}


def agrees(result: dict[str, float], max_abs_diff: float) -> bool:
    """Whether `parity` found no logit off by more than `max_abs_diff`.

    Classes then differ at most where the two largest logits are within twice that. A difference
    that is not a number is no agreement.
    """
    return result["max_abs_diff"] <= max_abs_diff
