import argparse
import sys
from pathlib import Path

import pytest

from benchmarks.arguments import count, only_count, run_command_line


@pytest.mark.parametrize("text", ["1", "300"])
def test_whole_numbers_from_1(text):
    assert count(text) == int(text)


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "many", "", "²"])
def test_what_is_no_count_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="must be a whole number from 1"):
        count(text)


@pytest.mark.parametrize(("arguments", "expected"), [([], 40), (["--rounds", "2"], 2)])
def test_the_only_count_is_read(arguments, expected, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    assert only_count("A program.", "--rounds", 40) == expected


def test_a_count_of_none_ends_with_the_options_name(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["program", "--rounds", "0"])
    with pytest.raises(SystemExit, match="2"):
        only_count("A program.", "--rounds", 40)
    assert "--rounds: got 0, must be a whole number from 1" in capsys.readouterr().err


def test_a_finished_run_has_a_name_and_a_folder():
    parser = run_command_line("A program.")
    assert vars(parser.parse_args(["b0"])) == {"name": "b0", "run": Path()}
    assert parser.parse_args(["b0", "--run", "../b0"]).run == Path("../b0")
