from unittest.mock import Mock

import numpy as np
import onnxruntime
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from refusals import refusal
from tiny_model import CLASSES, SIDE, write_body

from stages.inference import session as session_module
from stages.inference.session import CPU, RECIPE_KEY, open_session, predictor_of, recipe_in


@pytest.mark.parametrize("threads", [1, 2])
def test_model_runs_on_as_many_threads_as_asked(tmp_path, threads):
    session = open_session(write_body(tmp_path, "float"), threads)
    assert session.get_session_options().intra_op_num_threads == threads
    logits = predictor_of(session)(np.zeros((4, 3, SIDE, SIDE), np.float32))
    assert (logits.shape, logits.dtype) == ((4, len(CLASSES)), np.float32)


def test_without_a_number_each_core_of_this_process_has_a_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(session_module, "thread_count", lambda: 3)
    options = open_session(write_body(tmp_path, "float")).get_session_options()
    assert options.intra_op_num_threads == 3


def test_pictures_of_another_size_are_told(tmp_path):
    predictor = predictor_of(open_session(write_body(tmp_path, "float")))
    told = refusal(predictor, np.zeros((4, 3, SIDE + 1, SIDE), np.float32))
    assert f"shape (4, 3, {SIDE + 1}, {SIDE})" in told
    assert f"Expected: {SIDE}" in told


@pytest.mark.parametrize("inputs", [[], ["input", "mask"]])
def test_a_model_of_other_than_one_input_is_refused(inputs):
    session = Mock(get_inputs=lambda: inputs)
    assert refusal(predictor_of, session).startswith(
        f"an ONNX model of {len(inputs)} inputs in place of one")


def test_recipe_of_a_model():
    assert recipe_in({RECIPE_KEY: '{"method": "static"}'}) == {"method": "static"}
    assert recipe_in({"other": "key"}) is None


@pytest.mark.parametrize("held", ["int8", "[1]", '"static"', "7"])
def test_what_is_no_recipe_is_refused(held):
    assert RECIPE_KEY in refusal(recipe_in, {RECIPE_KEY: held})


def test_provider_that_does_not_start_is_refused(tmp_path, monkeypatch):
    """ONNX Runtime goes on with the CPU alone, as here."""
    begin = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda path, options, providers:
                        begin(path, options, providers=[CPU]))
    told = refusal(open_session, write_body(tmp_path, "float"), 1, "CUDAExecutionProvider")
    assert told.startswith("benchmark.providers: CUDAExecutionProvider is installed but can't be")


def test_provider_that_fails_at_a_run_is_not_replaced_by_the_cpu(tmp_path):
    """As ONNX Runtime does by itself; times of one would then be told as those of the other."""
    def fails(*_):
        raise ort_errors.EPFail("no engine")

    session = open_session(write_body(tmp_path, "float"))
    session._sess = Mock(wraps=session._sess, run=fails)
    told = refusal(predictor_of(session), np.zeros((4, 3, SIDE, SIDE), np.float32))
    assert "no engine" in told
