"""The tables of pages, in a folder with the repository's own metrics."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT
from refusals import refusal
from report_files import copy_metrics

from stages import publish
from stages.reporting.results import METRICS, RESULTS, table_of

SUMMARY, PARAMS = METRICS / "summary.json", Path("params.yaml")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    copy_metrics(tmp_path)
    shutil.copytree(ROOT / publish.CONF, tmp_path / publish.CONF)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(publish, "what_changed", lambda: None)  # DVC isn't there
    return tmp_path / RESULTS / "run"


@pytest.mark.parametrize("command", [
    "dvc exp run -S quantize=$(python -m stages.preflight --recipes)",
    'dvc exp run -S "a=[b, c]" -S \'x=$HOME`y`\'', ""])
def test_make_publish_passes_the_command_on_as_it_was_typed(tmp_path, command):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.txt", "constraints.txt", ".venv/.installed", ".venv/bin/python"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
        path.chmod(0o755)
    told = subprocess.run(["make", "--silent", "publish", "NAME=mine", f"COMMAND={command}"],
                          cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert json.loads(told) == ["-m", "stages.publish", "mine",
                                *(["--command", command] if command else [])]


def write_pages():
    publish.COLLAPSE.parent.mkdir(exist_ok=True)
    publish.COLLAPSE.write_text("<!-- collapse -->\nold\n<!-- /collapse -->\n")
    publish.README.write_text("<!-- results -->\nold\n<!-- /results -->\n")


@pytest.mark.parametrize("changes", [
    [(SUMMARY, '"digits"', '"flowers"'), (PARAMS, "name: digits", "name: flowers")],
    [(SUMMARY, "_lite0", "_lite2"), (PARAMS, "_lite0", "_lite2")],
    [(PARAMS, "reduce_range: true", "reduce_range: false")]], ids=["data", "model", "recipe"])
def test_a_run_of_another_experiment_leaves_the_default_ones_tables(folder, monkeypatch, changes):
    write_pages()
    for path, old, new in changes:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    monkeypatch.setattr(sys, "argv", ["publish"])
    publish.main()
    for page in (publish.README, publish.COLLAPSE):
        assert "old" in page.read_text()


@pytest.mark.parametrize(("content", "told"), [
    ("defaults:\n  - data: nowhere\n", "nowhere"), ("model:\n\timage_size: 64\n", "found char"),
    ("model: ${nowhere}\n", "nowhere"), ("- a\n", "")])
def test_conf_that_cannot_be_composed_is_told_in_one_line(folder, content, told):
    (publish.CONF / "config.yaml").write_text(content)
    message = refusal(publish.is_default)
    assert message.startswith("conf: ")
    assert told in message
    assert "\n" not in message


def test_nothing_is_written_of_a_run_that_is_not_up_to_date(folder, monkeypatch):
    write_pages()
    monkeypatch.setattr(publish, "what_changed", lambda: "not as when it ran")
    monkeypatch.setattr(sys, "argv", ["publish", "run"])
    assert refusal(publish.main) == "not as when it ran"
    assert not folder.exists()
    assert "old" in publish.README.read_text()


def test_a_command_without_a_run_to_keep_is_refused(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["publish", "--command", "dvc exp run"])
    with pytest.raises(SystemExit) as ended:
        publish.main()
    assert ended.value.code == 2
    assert "--command needs NAME" in capsys.readouterr().err


def test_a_run_is_shown_in_the_pages_that_have_its_markers_and_in_no_other(folder, monkeypatch):
    publish.COLLAPSE.parent.mkdir(exist_ok=True)
    publish.COLLAPSE.write_text("<!-- collapse -->\n<!-- /collapse -->\n")
    markers = "<!-- results -->\n<!-- /results -->\n"
    publish.README.write_text(markers + "<!-- results run -->\n<!-- /results run -->\n")
    for name in ("run", "other"):
        monkeypatch.setattr(sys, "argv", ["publish", name])
        publish.main()
    assert (folder.parent / "other" / "README.md").is_file()
    assert publish.README.read_text().count(table_of(folder)) == 2
    assert "other" not in publish.README.read_text()
