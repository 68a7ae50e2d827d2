"""A process that fails or is killed is told in one line, and what one prints comes back."""

import pytest
from refusals import refusal

from benchmarks.child import failure, run_module


@pytest.fixture
def run(tmp_path):
    """run(program, *arguments): runs the text of a program as the module `told`."""
    def run_text(program, *arguments, **options):
        (tmp_path / "told.py").write_text(f"import os, signal, sys\n{program}\n")
        return run_module("told", *arguments, cwd=tmp_path, **options)
    return run_text


def test_output_comes_back_without_what_is_logged(run):
    program = "print(sys.argv[1]); print('busy', file=sys.stderr)"
    assert run(program, "an argument") == "an argument\n"


@pytest.mark.parametrize(("program", "reason"), [
    ("print('first', file=sys.stderr); sys.exit('params.yaml: no such file')",
     "params.yaml: no such file"),
    ("raise ValueError('too few')", "ValueError: too few"),
    ("sys.exit(3)", "exit status 3"),
    ("print('busy', file=sys.stderr, flush=True); os.kill(os.getpid(), signal.SIGKILL)",
     "killed by SIGKILL")])
def test_failure_is_told_with_the_module_and_its_arguments(run, program, reason):
    assert refusal(run, program, "--count", "3") == f"told --count 3: {reason}"


def test_what_the_command_begins_with_runs_it_and_is_told(run):
    program = "sys.exit(os.environ['CPU'])"
    assert refusal(run, program, prefix=["env", "CPU=old"]) == "env CPU=old told: old"


def test_bytes_that_are_no_text_are_told_all_the_same(run):
    assert "\N{REPLACEMENT CHARACTER}" in refusal(
        run, r"sys.stderr.buffer.write(b'bad \xff byte'); sys.exit(1)")


def test_blank_lines_at_the_end_are_no_reason():
    assert failure(1, "reason\n\n  \n") == "reason"
