"""Tables of pages, in Markdown."""

from collections.abc import Iterable, Sequence

Row = Sequence[object]


def markdown_table(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """A Markdown table, without a line's end after its last row.

    Raises:
        ValueError: a row has not as many cells as there are columns.
    """
    lines: list[Row] = [columns, ["---"] * len(columns)]
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"{len(row)} cells for {len(columns)} columns: {row}")
        lines.append(row)
    return "\n".join("|" + "".join(f" {cell} |" if cell != "" else " |" for cell in line)
                     for line in lines)
