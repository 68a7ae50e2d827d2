"""Help as the docstring has it, and the variant that a stage is started for."""

import sys

import pytest
from refusals import refusal

from stages.config.command_line import command_line, variant_asked_for


def test_help_keeps_the_lines_of_the_description():
    assert "\nOne.\n\n    two\nthree\n" in command_line("One.\n\n    two\nthree").format_help()


def test_the_variant_is_the_argument(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["quantize", "int8_static"])
    assert variant_asked_for("what it does", "quantize.variants") == "int8_static"


@pytest.mark.parametrize("variant", ["int8_static.method", ".", "int8_static[method]"])
def test_a_path_into_a_variant_is_no_variant(variant, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["quantize", variant])
    assert refusal(variant_asked_for, "what it does", "quantize.variants") == (
        f"params.yaml: quantize.variants.{variant}: is no variant; name a key of quantize.variants")
