"""Keeping a run, in a folder with the repository's own metrics."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from import_closure import ROOT
from refusals import refusal
from report_files import copy_metrics

from stages import publish
from stages.reporting.results import parameters_sha256

SUMMARY, PARAMS = publish.METRICS / "summary.json", Path("params.yaml")
NOTE = "The machine was busy,\nand so the timings are wide.\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    copy_metrics(tmp_path)
    shutil.copytree(ROOT / publish.CONF, tmp_path / publish.CONF)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(publish, "what_changed", lambda: None)  # DVC isn't there
    return tmp_path / publish.RESULTS / "run"


def test_page_of_a_run(folder):
    publish.keep_run("run", "dvc exp run")
    page = (folder / "README.md").read_text()
    assert page.startswith("# run\n\nMade by `dvc exp run`, kept by `make publish`.")
    assert "\n\n\n" not in page
    assert publish.table_of(folder) in page
    assert {path.name for path in folder.glob("quantize_*")} == {
        f"quantize_int8_{kind}.json" for kind in ("dynamic", "static", "qat", "mixed")}
    assert len(list(folder.glob("evaluate_*.json"))) == 6
    for name in publish.CAPTIONS:
        assert f"]({name})" in page
        assert (folder / name).is_file()


def test_a_run_is_kept_in_the_folder_of_results_only(folder):
    before = sorted(Path().rglob("*"))
    assert "not the name of a folder" in refusal(publish.keep_run, "../run", None)
    assert sorted(Path().rglob("*")) == before


def test_a_run_that_lacks_a_file_leaves_nothing_half_copied(folder):
    (publish.METRICS / "quantize" / "int8_qat.json").unlink()
    assert "int8_qat.json: no such file; run 'dvc repro'" in refusal(publish.keep_run, "run", None)
    assert not folder.exists()


def test_a_run_whose_metrics_lack_a_key_leaves_nothing_half_copied(folder):
    path = publish.METRICS / "analysis.json"
    path.write_text(path.read_text().replace('"validation_images"', '"images"'))
    assert "analysis.json: has no 'validation_images'" in refusal(publish.keep_run, "run", None)
    assert not folder.exists()


@pytest.mark.parametrize(("file", "content", "told"), [
    ("summary.json", '{"dataset": "pets", "model": "b0"}', "holds a run of b0 on pets; choose"),
    ("experiments.csv", "a", "holds a comparison of experiments; choose another name")])
def test_a_run_does_not_take_the_place_of_something_else(folder, file, content, told):
    folder.mkdir(parents=True)
    (folder / file).write_text(content)
    assert told in refusal(publish.keep_run, "run", None)
    assert [path.name for path in folder.iterdir()] == [file]


def test_note_is_kept_when_the_run_is_published_again(folder):
    folder.mkdir(parents=True)
    (folder / "NOTE.md").write_text(NOTE)
    for _ in range(2):
        publish.keep_run("run", "dvc exp run")
    page = (folder / "README.md").read_text()
    assert page.count(NOTE) == 1
    assert f"(summary.json).\n\n{NOTE}\n{publish.table_of(folder)}" in page


def test_times_of_the_stages_stand_on_the_page(folder):
    folder.mkdir(parents=True)
    (folder / "stage_times.json").write_text(json.dumps({
        "stages": {"export": 12.6, "train": 5711.4}, "parameters_sha256": parameters_sha256()}))
    publish.keep_run("run", None)
    page = (folder / "README.md").read_text()
    assert "\n\n| stage | seconds |\n| --- | --- |\n| export | 13 |\n| train | 5,711 |\n\n" in page
    PARAMS.write_text(PARAMS.read_text() + "\n")
    publish.keep_run("run", "dvc exp run")
    assert "| stage | seconds |" not in (folder / "README.md").read_text(), "of another run"


def test_the_command_is_kept_unless_another_is_told(folder):
    for command, told in ((None, "dvc repro"), ("dvc exp run -S 'a=[b,c]'",) * 2,
                          (None, "dvc exp run -S 'a=[b,c]'"), ("make repro",) * 2):
        publish.keep_run("run", command)
        assert f"\n\nMade by `{told}`, kept by" in (folder / "README.md").read_text()


def test_the_command_of_a_run_of_other_parameters_is_not_kept(folder):
    publish.keep_run("run", "dvc exp run -S train.epochs=1")
    before = (folder / "README.md").read_bytes()
    PARAMS.write_text(PARAMS.read_text() + "\n")
    told = refusal(publish.keep_run, "run", None)
    assert "when `dvc exp run -S train.epochs=1` made the run; tell the command" in told
    assert (folder / "README.md").read_bytes() == before


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


def test_recipes_of_variants_that_the_run_has_no_more_are_not_kept(folder):
    publish.keep_run("run", None)
    for stage in ("quantize", "evaluate"):
        (folder / f"{stage}_int8_old.json").write_text("{}")
    (publish.METRICS / "quantize" / "int8_stale.json").write_text("{}")
    publish.keep_run("run", None)
    assert {path.name for path in folder.glob("quantize_*")} == {
        f"quantize_int8_{kind}.json" for kind in ("dynamic", "static", "qat", "mixed")}
    assert not (folder / "evaluate_int8_old.json").exists()


def write_pages():
    publish.COLLAPSE.parent.mkdir(exist_ok=True)
    publish.COLLAPSE.write_text("<!-- collapse -->\nold\n<!-- /collapse -->\n")
    publish.README.write_text("<!-- results -->\nold\n<!-- /results -->\n")


@pytest.mark.parametrize("changes", [
    [(SUMMARY, '"digits"', '"flowers"'), (PARAMS, "name: digits", "name: flowers")],
    [(SUMMARY, "_lite0", "_lite2"), (PARAMS, "_lite0", "_lite2")],
    [(PARAMS, "reduce_range: false", "reduce_range: true")]], ids=["data", "model", "recipe"])
def test_a_run_of_another_experiment_leaves_the_default_ones_tables(folder, monkeypatch, changes):
    write_pages()
    for path, old, new in changes:
        path.write_text(path.read_text().replace(old, new))
    monkeypatch.setattr(sys, "argv", ["publish"])
    publish.main()
    for page in (publish.README, publish.COLLAPSE):
        assert "old" in page.read_text()


def test_conf_that_cannot_be_composed_is_told_in_one_line(folder):
    (publish.CONF / "config.yaml").write_text("defaults:\n  - data: nowhere\n")
    assert refusal(publish.is_default).startswith("conf: ")


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
    assert publish.README.read_text().count(publish.table_of(folder)) == 2
    assert "other" not in publish.README.read_text()
