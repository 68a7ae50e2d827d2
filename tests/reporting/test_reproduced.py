"""What is not as when the stages ran, in a copy of the repository."""

import pytest
from working_copy import make_working_copy

from stages.reporting.reproduced import what_changed


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return make_working_copy(tmp_path_factory.mktemp("reproduced") / "repository")


@pytest.mark.parametrize(("path", "old", "new", "told"), [
    ("params.yaml", "image_size: 64", "image_size: 96", "params.yaml: model: not as when stage t"),
    ("params.yaml", "cutout: 0", "cutout: 2", "params.yaml: train: not as when stage train"),
    ("stages/report.py", "\n", "\n# changed\n", "stages/report.py: not as when stage report"),
    ("metrics/summary.json", "{", '{"new": 1,', "metrics/summary.json: not as when stage report"),
    ("dvc.yaml", "-m stages.export", "-m  stages.export", "changed command: not as when stage e")])
def test_a_run_that_was_not_made_by_what_is_beside_it_is_told(copy, monkeypatch, path, old, new,
                                                              told):
    monkeypatch.chdir(copy)
    assert what_changed() is None
    before = (copy / path).read_text()
    assert old in before
    try:
        (copy / path).write_text(before.replace(old, new, 1))
        said = what_changed()
    finally:
        (copy / path).write_text(before)
    assert said.startswith(told)
    assert said.endswith("ran; run 'dvc repro'")


def test_code_that_is_gone_is_told(copy, monkeypatch):
    monkeypatch.chdir(copy)
    before = (copy / "stages/report.py").read_text()
    try:
        (copy / "stages/report.py").unlink()
        said = what_changed()
    finally:
        (copy / "stages/report.py").write_text(before)
    assert said == "stages/report.py: not as when stage report ran; run 'dvc repro'"


def test_a_folder_that_dvc_does_not_know_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert what_changed().startswith("DVC can't tell whether the run is up to date: ")
