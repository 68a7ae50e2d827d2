"""What the command lines of benchmarks share."""

import argparse
from pathlib import Path

from stages.config.command_line import command_line


def count(text: str) -> int:
    """A whole number from 1, as the type of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text}, must be a whole number from 1")
    return int(text)


def only_count(description: str, option: str, default: int) -> int:
    """The count that the command line of a program without any other option gives."""
    parser = command_line(description)
    parser.add_argument(option, dest="count", type=count, default=default)
    return parser.parse_args().count


def run_command_line(description: str) -> argparse.ArgumentParser:
    """A parser of the name that a finished run has on the page, and of its folder."""
    parser = command_line(description)
    parser.add_argument("name", help="of the run on the page")
    parser.add_argument("--run", type=Path, default=Path(), help="folder of the finished run")
    return parser
