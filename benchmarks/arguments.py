"""What the command lines of benchmarks share."""

import argparse


def count(text: str) -> int:
    """A whole number from 1, as the type of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text}, must be a whole number from 1")
    return int(text)
