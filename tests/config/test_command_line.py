"""Help as the docstring has it."""

from stages.config.command_line import command_line


def test_help_keeps_the_lines_of_the_description():
    assert "\nOne.\n\n    two\nthree\n" in command_line("One.\n\n    two\nthree").format_help()
