"""The command line of a program that its docstring describes."""

import argparse
from typing import Any

from stages.config.errors import UserError


def command_line(description: str, **options: Any) -> argparse.ArgumentParser:
    """A parser whose help shows `description` in the lines that it is written in.

    Args:
        options: of argparse.ArgumentParser.
    """
    return argparse.ArgumentParser(description=description, **options,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)


def variant_asked_for(description: str, section: str) -> str:
    """The variant that a stage is started for, by its one argument.

    Args:
        section: of params.yaml, whose keys variants are.

    Raises:
        UserError: it can be no key, since a dot or a bracket in it would lead into the section.
    """
    parser = command_line(description)
    parser.add_argument("variant", help=f"a key of {section} in params.yaml")
    variant: str = parser.parse_args().variant
    if {".", "["} & {*variant}:
        raise UserError(f"params.yaml: {section}.{variant}: is no variant; name a key of {section}")
    return variant
