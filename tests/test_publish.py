"""Keeping a run, in a folder with the repository's own metrics."""

import sys

import pytest
from report_files import copy_metrics

from stages import publish

NOTE = "The machine was busy,\nand so the timings are wide.\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    copy_metrics(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / publish.RESULTS / "run"


def test_page_of_a_run(folder):
    publish.keep_run("run", "dvc exp run")
    page = (folder / "README.md").read_text()
    assert page.startswith("# run\n\nMade by `dvc exp run`, kept by `make publish`.")
    assert "\n\n\n" not in page
    assert publish.table_of(folder) in page
    for name in publish.CAPTIONS:
        assert f"]({name})" in page
        assert (folder / name).is_file()


def test_note_is_kept_when_the_run_is_published_again(folder):
    folder.mkdir(parents=True)
    (folder / "NOTE.md").write_text(NOTE)
    for _ in range(2):
        publish.keep_run("run", "dvc exp run")
    page = (folder / "README.md").read_text()
    assert page.count(NOTE) == 1
    assert f"(summary.json).\n\n{NOTE}\n{publish.table_of(folder)}" in page


def test_a_run_is_shown_in_the_pages_that_have_its_markers_and_in_no_other(folder, monkeypatch):
    publish.COLLAPSE.parent.mkdir(exist_ok=True)
    publish.COLLAPSE.write_text("<!-- collapse -->\n<!-- /collapse -->\n")
    markers = "<!-- results -->\n<!-- /results -->\n"
    publish.README.write_text(markers + "<!-- results run -->\n<!-- /results run -->\n")
    for name in ("run", "other"):
        monkeypatch.setattr(sys, "argv", ["publish", name])
        publish.main()
    assert (folder.parent / "other" / "README.md").is_file()
    assert publish.README.read_text().count(publish.table_of(folder)) == 2
    assert "other" not in publish.README.read_text()
