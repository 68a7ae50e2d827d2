import pytest

from benchmarks.markdown import markdown_table


def test_rows_stand_below_a_line_of_as_many_columns():
    assert markdown_table(("", "ms"), [("float", 1.5), ("int8", "")]) == (
        "| | ms |\n| --- | --- |\n| float | 1.5 |\n| int8 | |")


def test_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        markdown_table(("model", "ms"), [("float",)])
