"""The download stage: the archive that it leaves, and what it tells."""

import hashlib
import logging
from importlib import resources

import pytest
from archive_files import picture_files, write_folder, write_params
from refusals import error_line, run_stage

from stages.data.archives import Archive
from stages.download import main

DIGITS_SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"


@pytest.fixture
def folder(workplace, caplog):
    caplog.set_level(logging.INFO, "stages")
    return workplace


def test_digits_need_no_network(folder, monkeypatch, caplog):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    write_params(folder, name="digits", format="digits", sha256=DIGITS_SHA256)
    main()
    assert DIGITS_SHA256 in caplog.text
    assert [path.name for path in (folder / "data").iterdir()] == ["archive"]
    packaged = resources.files("sklearn.datasets.data") / "digits.csv.gz"
    assert (folder / "data" / "archive").read_bytes() == packaged.read_bytes()


def test_a_folder_without_a_pin_is_packed_with_a_warning(folder, monkeypatch, caplog):
    write_params(folder)
    files = picture_files("cat", "dog")
    monkeypatch.setenv("DATA_SOURCE_PETS", str(write_folder(folder / "pets", files)))
    main()
    archive = folder / "data" / "archive"
    assert hashlib.sha256(archive.read_bytes()).hexdigest() in caplog.text
    assert "data.sha256 is not set" in caplog.text
    assert {m.name for m in Archive(archive).members() if not m.is_folder} == set(files)


def test_bad_parameters_are_told_before_any_work(tmp_path):
    write_params(tmp_path, reslution=8)
    line = error_line(run_stage("download", tmp_path))
    assert line == "ERROR params.yaml: unknown key 'data.reslution'; did you mean 'resolution'?"
    assert not (tmp_path / "data").exists()
