"""The frame of a stage: what its exit code and its error line are."""

import logging
import sys

import pytest

from stages.config.errors import UserError
from stages.config.stage import run_stage


@pytest.fixture(autouse=True)
def levels():
    """run_stage sets levels for the life of a process: put them back."""
    loggers = [logging.getLogger(name) for name in ("stages", "__main__")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


def raising(error):
    def main():
        raise error
    return main


@pytest.mark.parametrize(("error", "code", "line"), [
    (UserError("data.seed: wrong"), 1, "data.seed: wrong"),
    (PermissionError(13, "Permission denied", "models/a.onnx"), 1,
     "models/a.onnx: Permission denied"),
    (IsADirectoryError(21, "Is a directory", "a.onnx.partial", None, "a.onnx"), 1,
     "a.onnx: Is a directory; remove or rename it"),
    (OSError("no space"), 1, "no space"), (KeyboardInterrupt(), 130, "interrupted"),
])
def test_what_a_user_did_is_told_in_one_line(caplog, error, code, line):
    with pytest.raises(SystemExit) as ended:
        run_stage(raising(error))
    assert ended.value.code == code
    assert [record.getMessage() for record in caplog.records] == [line]
    assert caplog.records[0].exc_info is None


def test_a_mistake_of_the_code_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_stage(raising(ZeroDivisionError()))


def test_a_stage_that_is_done_returns():
    done = []
    run_stage(lambda: done.append(True))
    assert done == [True]


@pytest.mark.parametrize(("arguments", "code", "ran"), [
    ([], None, True), (["--help"], 0, False), (["--epochs", "3"], 2, False)])
def test_a_stage_without_arguments_refuses_any(monkeypatch, arguments, code, ran):
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    done = []
    if code is None:
        run_stage(lambda: done.append(True), "Stage train.")
    else:
        with pytest.raises(SystemExit) as ended:
            run_stage(lambda: done.append(True), "Stage train.")
        assert ended.value.code == code
    assert bool(done) == ran
