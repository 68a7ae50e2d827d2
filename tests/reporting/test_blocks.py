import re

import pytest

from stages.config.errors import UserError
from stages.reporting.blocks import replace_block, write_block

PAGE = """\
# Title

<!-- results -->
old
lines
<!-- /results -->

between

<!-- other -->
kept
<!-- /other -->
end
"""


def test_replace_block_replaces_its_block_alone():
    page = replace_block(PAGE, "results", "new \\1 line\n")
    before, block, after = PAGE.partition("old\nlines\n")
    assert block
    assert page.startswith(before)
    assert page.endswith(after)
    assert page[len(before):-len(after)].strip() == "new \\1 line"


def test_replace_block_is_idempotent():
    once = replace_block(PAGE, "results", "new\n")
    assert replace_block(once, "results", "new\n") == once
    assert replace_block(once, "results", "old\nlines\n") != once


def test_replace_block_fills_an_empty_block():
    page = "<!-- a -->\n<!-- /a -->\n"
    assert "text" in replace_block(page, "a", "text")


@pytest.mark.parametrize("page", [
    "", "no markers", "<!-- results -->\nno end", "no start\n<!-- /results -->",
    "<!-- /results -->\n<!-- results -->\n", "<!-- result -->\nx\n<!-- /result -->"])
def test_replace_block_without_markers(page):
    with pytest.raises(UserError, match="no markers '<!-- results -->' and '<!-- /results -->'"):
        replace_block(page, "results", "new")


def test_name_of_a_block_is_no_pattern():
    assert "new" in replace_block("<!-- c++ -->\nold\n<!-- /c++ -->\n", "c++", "new")
    with pytest.raises(UserError):
        replace_block(PAGE, "r.sults", "new")


def test_block_that_stands_twice_keeps_what_is_between():
    page = replace_block(f"{PAGE}between\n{PAGE}", "results", "new")
    assert page.count("new") == 2
    assert page.count("kept") == 2


def test_page_is_written_in_place_and_left_alone_without_markers(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    write_block(path, "other", "änd")
    assert path.read_text(encoding="utf-8") == replace_block(PAGE, "other", "änd")
    before = path.read_bytes()
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: has no markers"):
        write_block(path, "third", "new")
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["page.md"]
