import pytest
from refusals import refusal

from stages.reporting.blocks import write_block

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


@pytest.fixture
def written(tmp_path):
    """Write a block to a page of the text `page`; the text that it has then."""
    path = tmp_path / "page.md"

    def write(page, name, content):
        path.write_text(page, encoding="utf-8")
        write_block(path, name, content)
        return path.read_text(encoding="utf-8")
    return write


def test_a_block_is_replaced_alone(written):
    page = written(PAGE, "results", "new \\1 line, änd\n")
    before, block, after = PAGE.partition("old\nlines\n")
    assert block
    assert page.startswith(before)
    assert page.endswith(after)
    assert page[len(before):-len(after)].strip() == "new \\1 line, änd"


def test_a_block_written_again_stays_the_same(written):
    once = written(PAGE, "results", "new\n")
    assert written(once, "results", "new\n") == once
    assert written(once, "results", "old\nlines\n") != once


def test_an_empty_block_is_filled(written):
    assert "text" in written("<!-- a -->\n<!-- /a -->\n", "a", "text")


@pytest.mark.parametrize("page", [
    "", "no markers", "<!-- results -->\nno end", "no start\n<!-- /results -->",
    "<!-- /results -->\n<!-- results -->\n", "<!-- result -->\nx\n<!-- /result -->"])
def test_a_page_without_markers_is_left_alone(written, tmp_path, page):
    path = tmp_path / "page.md"
    assert refusal(written, page, "results", "new").startswith(
        f"{path}: has no markers '<!-- results -->' and '<!-- /results -->'")
    assert path.read_text(encoding="utf-8") == page
    assert [each.name for each in tmp_path.iterdir()] == ["page.md"]


def test_name_of_a_block_is_no_pattern(written):
    assert "new" in written("<!-- c++ -->\nold\n<!-- /c++ -->\n", "c++", "new")
    assert "has no markers" in refusal(written, PAGE, "r.sults", "new")


def test_block_that_stands_twice_keeps_what_is_between(written):
    page = written(f"{PAGE}between\n{PAGE}", "results", "new")
    assert page.count("new") == 2
    assert page.count("kept") == 2
