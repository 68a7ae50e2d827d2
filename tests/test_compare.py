"""The compare command on a small repository with two experiments in it."""

import json
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from dvc.repo import Repo
from refusals import refusal

from stages import compare
from stages.reporting.experiments import markdown

VARIANTS = ("onnx_fp32", "int8_static", "int8_qat")


def git(folder, *command):
    subprocess.run(["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *command],
                   cwd=folder, check=True, capture_output=True)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def commit(folder, branch, model, parameters, limit):
    """An experiment as a branch: its parameters and metrics."""
    variants = {name: {"accuracy": 0.9 + 0.01 * index, "validation_accuracy": 0.8,
                       "latency_p50_ms": 4.0 / (index + 1), "throughput_img_s": 100.0,
                       "size_mb": 10.0,
                       **{f"speedup_{measure}{end}": 1.0 + shift
                          for measure in ("latency", "throughput")
                          for end, shift in (("", 0.5), ("_ci95_low", 0.25), ("_ci95_high", 1))}}
                for index, name in enumerate(VARIANTS)}
    write(folder / "params.yaml", yaml.safe_dump({"model": {"name": model, "image_size": 64,
                                                                   "limit": limit}}))
    for path, content in (
            ("summary", {"dataset": "digits", "image_size": 64, "test_images": 50,
                         "variants": variants}),
            ("export", {"macs": 2_000_000}),
            ("training/metrics", {"epochs": 3, "parameters": parameters}),
            ("system", {"cpu": {"model": "Abacus", "threads_used": 2}})):
        write(folder / f"metrics/{path}.json", json.dumps(content))
    git(folder, "checkout", "-qb", branch)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", branch)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    git(folder, "init", "-q")
    Repo.init(str(folder)).close()
    write(folder / "dvc.yaml", yaml.safe_dump({
        "params": ["params.yaml"], "metrics": ["metrics/summary.json", "metrics/export.json",
                                               "metrics/training/metrics.json",
                                               "metrics/system.json"]}))
    commit(folder, "small", "b0", 4_000_000, None)
    commit(folder, "large", "b3", 11_000_000, 16)
    git(folder, "checkout", "-qb", "unfinished")
    git(folder, "rm", "-q", "metrics/summary.json")
    git(folder, "commit", "-qm", "unfinished")
    git(folder, "checkout", "-q", "large")
    return folder


@pytest.fixture
def compare_here(repository, monkeypatch):
    """compare_here(*arguments): the command in the repository, in this process."""
    monkeypatch.chdir(repository)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["compare", *arguments])
        compare.main()
    return call


def test_table_has_a_row_for_each_experiment(repository, compare_here):
    compare_here("models", "--by", "model.name", "small", "large")
    folder = repository / "docs/results/models"
    rows = pd.read_csv(folder / "experiments.csv")
    assert list(rows["model.name"]) == ["b0", "b3"]
    assert list(rows["parameters, M"]) == [4, 11]
    assert set(rows["MACs, M"]) == {2}
    assert set(rows["int8_static test accuracy, %"]) == {91}
    assert set(rows["int8_static validation accuracy, %"]) == {80}
    assert set(rows["onnx_fp32 ms"]) == {4}
    assert set(rows["int8_static speed-up"]) == {"1.50 (1.25 to 2.00)"}
    assert set(rows["int8_static speed-up in batches"]) == {"1.50 (1.25 to 2.00)"}
    assert "onnx_fp32 speed-up" not in rows
    page = (folder / "README.md").read_text()
    assert page.startswith("# models\n\nMade by `python -m stages.compare models --by model.name "
                           "small large`;")
    assert "Measured on Abacus, 2 threads;" in page
    assert "| b3 " in page
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()
             if line.startswith("| large")]
    assert [row[:2] for row in cells] == [["large", "b3"], ["large", "onnx_fp32"],
                                          ["large", "int8_static"]]
    assert cells[1][2:] == ["80", "90", "4", "100", "10", "", ""]
    assert cells[2][2:] == ["80", "91", "2", "100", "10", *["1.50 (1.25 to 2.00)"] * 2]
    assert "](experiments.png)" in page
    assert (folder / "experiments.png").read_bytes().startswith(b"\x89PNG")


def test_an_experiment_named_as_a_number_keeps_its_name():
    rows = pd.DataFrame({"experiment": ["7057e11", "12"], "MACs, M": [1.0, 2.5],
                         "onnx_fp32 ms": [1.0, 2.0]})
    cells = [[cell.strip() for cell in line.split("|")[1:-1]]
             for line in markdown(rows, ["onnx_fp32"]).splitlines() if line.startswith("|")]
    assert ["7057e11", "1"] in cells
    assert ["12", "onnx_fp32", "2"] in cells


def test_a_parameter_that_is_null_in_one_experiment(repository, compare_here):
    compare_here("nulls", "--by", "model.limit", "small", "large")
    rows = pd.read_csv(repository / "docs/results/nulls/experiments.csv", keep_default_na=False)
    assert list(rows["model.limit"]) == ["null", "16"]


def test_other_variants_take_the_place_of_int8_static(repository, compare_here):
    compare_here("tuned", "--by", "model.name", "--variant", "int8_qat", "small")
    columns = pd.read_csv(repository / "docs/results/tuned/experiments.csv").columns
    assert [name.split()[0] for name in columns if name.endswith(" ms")] == ["onnx_fp32",
                                                                             "int8_qat"]


def test_note_is_kept(repository, compare_here):
    folder = repository / "docs/results/noted"
    write(folder / "NOTE.md", "B3 is starved.\n")
    for _ in range(2):
        compare_here("noted", "--by", "model.name", "small")
    assert (folder / "README.md").read_text().count("\n\nB3 is starved.\n\n|") == 1


def test_a_published_run_is_not_replaced(repository, compare_here):
    write(repository / "docs/results/published/summary.json", "{}")
    assert "published: holds a published run; choose another name" in refusal(
        compare_here, "published", "--by", "model.name", "small")


@pytest.mark.parametrize(("arguments", "told"), [
    (["--by", "model.name", "absent"], "absent: "),
    (["--by", "model.depth", "small"], "small: has no 'model.depth' in its parameters"),
    (["--by", "model.name.first", "small"], "small: has no 'model.name.first' in its parameters"),
    (["--by", "model.name", "--variant", "int4", "small"], "small: has no 'int4'"),
    (["--by", "model.name", "unfinished"], "unfinished: ")])
def test_what_is_not_there(repository, compare_here, arguments, told):
    assert refusal(compare_here, "none", *arguments).startswith(told)
    assert not (repository / "docs/results/none").exists()


def test_a_page_outside_the_results_is_refused(repository, compare_here):
    assert "'../page': not the name of a folder" in refusal(
        compare_here, "../page", "--by", "model.name", "small")
    assert not (repository / "docs/page").exists()
