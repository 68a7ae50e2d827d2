"""Published runs: their names, and keeping one, in a folder with the repository's own metrics."""

import json
from pathlib import Path

import pytest
from refusals import refusal
from report_files import copy_metrics, edit_json

from stages.reporting.results import (
    FIGURES,
    METRICS,
    RESULTS,
    keep_run,
    params_file_sha256,
    read_note,
    results_folder,
    table_of,
)

PARAMS, SYSTEM = Path("params.yaml"), METRICS / "system.json"
NOTE = "The machine was busy,\nand so the timings are wide.\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    copy_metrics(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / RESULTS / "run"


def test_a_name_is_a_folder_of_the_results():
    assert results_folder("seed_short") == RESULTS / "seed_short"


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "a/b", "/tmp", "a/"])
def test_a_name_that_leads_elsewhere_is_refused(name):
    assert refusal(results_folder, name) == (
        f"'{name}': not the name of a folder in docs/results, as in 'cifar10'")


def test_page_of_a_run(folder):
    keep_run("run", "dvc exp run")
    page = (folder / "README.md").read_text()
    assert page.startswith("# run\n\nMade by `dvc exp run`, kept by `make publish`.")
    assert "\n\n\n" not in page
    assert table_of(folder) in page
    assert {path.name for path in folder.glob("quantize_*")} == {
        f"quantize_int8_{kind}.json" for kind in ("dynamic", "static", "qat", "mixed")}
    assert len(list(folder.glob("evaluate_*.json"))) == 6
    for name in FIGURES:
        assert f"]({name}.png)" in page
        assert (folder / f"{name}.png").is_file()


def test_a_run_is_kept_in_the_folder_of_results_only(folder):
    before = sorted(Path().rglob("*"))
    assert "not the name of a folder" in refusal(keep_run, "../run", None)
    assert sorted(Path().rglob("*")) == before


def test_a_run_that_lacks_a_file_leaves_nothing_half_copied(folder):
    (METRICS / "quantize" / "int8_qat.json").unlink()
    assert "int8_qat.json: no such file; run 'dvc repro'" in refusal(keep_run, "run", None)
    assert not folder.exists()


def test_a_run_whose_metrics_lack_a_key_leaves_nothing_half_copied(folder):
    path = METRICS / "analysis.json"
    path.write_text(path.read_text().replace('"validation_images"', '"images"'))
    assert "analysis.json: has no 'validation_images'" in refusal(keep_run, "run", None)
    assert not folder.exists()


@pytest.mark.parametrize(("file", "content", "told"), [
    ("summary.json", '{"dataset": "pets", "model": "b0"}', "holds a run of b0 on pets; choose"),
    ("experiments.csv", "a", "holds a comparison of experiments; choose another name")])
def test_a_run_does_not_take_the_place_of_something_else(folder, file, content, told):
    folder.mkdir(parents=True)
    (folder / file).write_text(content)
    assert told in refusal(keep_run, "run", None)
    assert [path.name for path in folder.iterdir()] == [file]


def test_note_is_kept_when_the_run_is_published_again(folder):
    folder.mkdir(parents=True)
    (folder / "NOTE.md").write_text(NOTE)
    for _ in range(2):
        keep_run("run", "dvc exp run")
    page = (folder / "README.md").read_text()
    assert page.count(NOTE) == 1
    assert f"(summary.json).\n\n{NOTE}\n{table_of(folder)}" in page


def test_a_note_of_another_encoding(folder):
    folder.mkdir(parents=True)
    note = folder / "NOTE.md"
    note.write_text(NOTE, encoding="utf-8-sig")
    assert read_note(folder) == f"{NOTE.strip()}\n\n"
    note.write_text(NOTE, encoding="utf-16")
    assert refusal(read_note, folder).startswith(f"{note}: is not in UTF-8")


def test_times_of_the_stages_stand_on_the_page(folder):
    folder.mkdir(parents=True)
    (folder / "stage_times.json").write_text(json.dumps({
        "stages": {"export": 12.6, "train": 5711.4}, "params_file_sha256": params_file_sha256(),
        "system": json.loads(SYSTEM.read_text())}))
    keep_run("run", None)
    page = (folder / "README.md").read_text()
    assert "\n\n| stage | seconds |\n| --- | --- |\n| export | 13 |\n| train | 5,711 |\n\n" in page
    here = SYSTEM.read_text()
    edit_json(SYSTEM, lambda system: system["cpu"].update(model="another"))
    keep_run("run", None)
    assert "| stage | seconds |" not in (folder / "README.md").read_text(), "of another machine"
    SYSTEM.write_text(here)
    PARAMS.write_text(PARAMS.read_text() + "\n")
    keep_run("run", "dvc exp run")
    assert "| stage | seconds |" not in (folder / "README.md").read_text(), "of another run"


def test_the_command_is_kept_unless_another_is_told(folder):
    for command, told in ((None, "dvc repro"), ("dvc exp run -S 'a=[b,c]'",) * 2,
                          (None, "dvc exp run -S 'a=[b,c]'"), ("make repro",) * 2):
        keep_run("run", command)
        assert f"\n\nMade by `{told}`, kept by" in (folder / "README.md").read_text()


def test_the_command_of_a_run_of_other_parameters_is_not_kept(folder):
    keep_run("run", "dvc exp run -S train.epochs=1")
    before = (folder / "README.md").read_bytes()
    PARAMS.write_text(PARAMS.read_text() + "\n")
    told = refusal(keep_run, "run", None)
    assert "when `dvc exp run -S train.epochs=1` made the run; tell the command" in told
    assert (folder / "README.md").read_bytes() == before


def test_recipes_of_variants_that_the_run_has_no_more_are_not_kept(folder):
    keep_run("run", None)
    for stage in ("quantize", "evaluate"):
        (folder / f"{stage}_int8_old.json").write_text("{}")
    (METRICS / "quantize" / "int8_stale.json").write_text("{}")
    keep_run("run", None)
    assert {path.name for path in folder.glob("quantize_*")} == {
        f"quantize_int8_{kind}.json" for kind in ("dynamic", "static", "qat", "mixed")}
    assert not (folder / "evaluate_int8_old.json").exists()


def test_accuracy_by_predict_alone_is_kept_for_the_model_it_is_of_and_no_other(folder):
    deployed = json.loads((METRICS / "deploy.json").read_text())
    folder.mkdir(parents=True)
    for of, kept in ((deployed, True), ({**deployed, "variant_sha256": "another"}, False)):
        (folder / "predict.json").write_text(json.dumps({"deploy": of}))
        keep_run("run", None)
        assert (folder / "predict.json").is_file() == kept
