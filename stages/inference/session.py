"""Opening an ONNX model to run, with onnxruntime and NumPy alone.

PyTorch is not imported: predict does without it, and its memory would be counted with a model's.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from stages.config.errors import UserError
from stages.inference.cpu import thread_count

# From float32 (B, 3, S, S) to logits, float32 (B, classes).
Predictor = Callable[[np.ndarray], np.ndarray]

CPU = "CPUExecutionProvider"
QUIET = 3  # errors and what is worse
# The key of a model's metadata that holds, as JSON, the recipe it was quantized by.
RECIPE_KEY = "int8_recipe"
# What ONNX Runtime raises on a file that is no model, or one that it can't run.
ONNX_ERRORS = (ort_errors.EPFail, ort_errors.EngineError, ort_errors.Fail,
               ort_errors.InvalidArgument, ort_errors.InvalidGraph, ort_errors.InvalidProtobuf,
               ort_errors.ModelRequiresCompilation, ort_errors.NotFound,
               ort_errors.NotImplemented, ort_errors.RuntimeException)


def is_onnx(path: Path | str) -> bool:
    """Whether the file of a variant is an ONNX model; any other is a checkpoint of PyTorch."""
    return Path(path).suffix == ".onnx"


def require_provider(provider: str) -> None:
    """Raises UserError for an execution provider that this ONNX Runtime does not have."""
    installed = onnxruntime.get_available_providers()
    if provider not in installed:
        raise UserError(f"benchmark.providers: {provider} is not installed; installed are "
                        f"{', '.join(installed)}")


def open_session(model: Path | bytes, threads: int | None = None, provider: str = CPU, **more: Any
                 ) -> onnxruntime.InferenceSession:
    """Open the ONNX model at a path, or its bytes.

    Args:
        threads: that share an operator; None takes one for each core of this process, where ONNX
            Runtime by itself would not see a container's share.
        more: further onnxruntime.SessionOptions, by name.

    Raises:
        UserError: the file is missing or no such model, or the provider can't be started here.
    """
    name = "model" if isinstance(model, bytes) else model
    if isinstance(model, Path) and not model.is_file():
        raise UserError(f"{model}: no such file; run 'dvc repro'")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count() if threads is None else threads
    options.log_severity_level = QUIET
    for key, value in more.items():
        setattr(options, key, value)
    # Several sessions are timed in turn: a session that is done must not spin on the cores.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        session = onnxruntime.InferenceSession(model, options, providers=[provider])
    except (*ONNX_ERRORS, UnicodeDecodeError, TypeError) as error:  # two of names that are no text
        raise UserError(f"{name}: not an ONNX model that can be run "
                        f"({str(error).splitlines()[0]})") from None
    # ONNX Runtime goes on with the CPU, silently, where a provider lacks its driver or library.
    if provider not in session.get_providers():
        raise UserError(f"benchmark.providers: {provider} is installed but can't be started here; "
                        "its driver or a library is missing")
    session.disable_fallback()  # nor may it when a provider fails at a run
    return session


def metadata_of(session: onnxruntime.InferenceSession, path: Path) -> dict[str, str]:
    """The metadata of the model at `path`, which `session` has open, by key.

    Raises:
        UserError: it is no text.
    """
    try:
        return session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: its metadata can't be read ({error})") from None


def recipe_in(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """The recipe that quantization left in the metadata of a model; None of a float model.

    Raises:
        UserError: it is no recipe.
    """
    try:
        recipe = json.loads(metadata.get(RECIPE_KEY, "null"))
    except ValueError:
        recipe = ""
    if not isinstance(recipe, dict | None):
        raise UserError(f"a model's metadata '{RECIPE_KEY}' is no recipe of this project; run "
                        "'dvc repro'")
    return recipe


def predictor_of(session: onnxruntime.InferenceSession) -> Predictor:
    """The model of `session`, as a function, which raises UserError on pictures it can't take."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise UserError(f"an ONNX model of {len(inputs)} inputs in place of one; run 'dvc repro'")

    def predictor(batch: np.ndarray) -> np.ndarray:
        try:
            return session.run(None, {inputs[0].name: batch})[0]
        except ONNX_ERRORS as error:
            raise UserError(f"an ONNX model can't run on pictures of shape {batch.shape} "
                            f"({' '.join(str(error).split())}); is it of the present "
                            "model.image_size, and is there memory for it?") from None

    return predictor
