"""Opening an ONNX Runtime session, with onnxruntime alone."""

from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from stages.config.errors import UserError

QUIET = 3  # errors and what is worse
# What ONNX Runtime raises on a file that is no model, or one that it can't run.
ONNX_ERRORS = (ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.InvalidGraph,
               ort_errors.InvalidProtobuf, ort_errors.NotImplemented, ort_errors.RuntimeException)


def open_session(model: Path | bytes, threads: int = 0) -> onnxruntime.InferenceSession:
    """A session on the CPU for the model at a path, or for its bytes.

    Args:
        threads: that share an operator; 0 leaves the number to ONNX Runtime.

    Raises:
        UserError: it is not a model that ONNX Runtime can run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = QUIET
    # Several sessions are timed in turn: a session that is done must not spin on the cores.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except ONNX_ERRORS as error:
        name = "model" if isinstance(model, bytes) else model
        raise UserError(f"{name}: not an ONNX model that can be run "
                        f"({str(error).splitlines()[0]})") from None
