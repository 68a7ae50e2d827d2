"""The command line of a program that its docstring describes."""

import argparse
from typing import Any


def command_line(description: str, **options: Any) -> argparse.ArgumentParser:
    """A parser whose help shows `description` in the lines that it is written in.

    Args:
        options: of argparse.ArgumentParser.
    """
    return argparse.ArgumentParser(description=description, **options,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
