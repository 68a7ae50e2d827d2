"""The download stage as a user runs it."""

import hashlib
from importlib import resources

import yaml
from archive_files import picture_files, write_folder, write_zip
from local_server import serving
from refusals import error_line, run_stage

from stages.data.archives import Archive

DIGITS_SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
OTHER = "0" * 64


def write_params(folder, **changed):
    data = {"name": "digits", "format": "digits", "sha256": DIGITS_SHA256, "resolution": 8,
            "horizontal_flip": False, "validation_fraction": 0.2, "test_fraction": 0.25,
            "calibration_size": 8, "seed": 0}
    (folder / "params.yaml").write_text(yaml.safe_dump({"data": {**data, **changed}}))


def pets(folder, sha256=None):
    write_params(folder, name="pets", format="imagefolder", sha256=sha256)


def files_in(folder):
    return sorted(path.name for path in (folder / "data").glob("*"))


def test_digits_need_no_network(tmp_path):
    write_params(tmp_path)
    result = run_stage("download", tmp_path, HTTPS_PROXY="http://127.0.0.1:9", NO_PROXY="")
    assert result.returncode == 0, result.stderr
    assert DIGITS_SHA256 in result.stderr
    assert files_in(tmp_path) == ["archive"]
    packaged = resources.files("sklearn.datasets.data") / "digits.csv.gz"
    assert (tmp_path / "data" / "archive").read_bytes() == packaged.read_bytes()


def test_a_folder_without_a_pin_is_packed_with_a_warning(tmp_path):
    pets(tmp_path)
    files = picture_files("cat", "dog")
    source = write_folder(tmp_path / "pets", files)
    result = run_stage("download", tmp_path, DATA_SOURCE_PETS=str(source))
    assert result.returncode == 0, result.stderr
    archive = tmp_path / "data" / "archive"
    assert hashlib.sha256(archive.read_bytes()).hexdigest() in result.stderr
    assert "data.sha256 is not set" in result.stderr
    assert {m.name for m in Archive(archive).members() if not m.is_folder} == set(files)


def test_a_file_is_downloaded_from_a_server(tmp_path):
    content = write_zip(tmp_path / "pets.zip", picture_files("cat", "dog")).read_bytes()
    pets(tmp_path, hashlib.sha256(content).hexdigest())
    with serving({"/pets.zip": content}) as (address, _):
        result = run_stage("download", tmp_path, DATA_SOURCE_PETS=f"{address}/pets.zip")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "data" / "archive").read_bytes() == content


def test_a_file_with_another_hash_leaves_what_was_there(tmp_path):
    pets(tmp_path, OTHER)
    (tmp_path / "pets.tar").write_bytes(b"other")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "archive").write_bytes(b"old")
    line = error_line(run_stage("download", tmp_path, DATA_SOURCE_PETS="pets.tar"))
    assert f"pets.tar: sha256 is {hashlib.sha256(b'other').hexdigest()}, expected {OTHER};" in line
    assert files_in(tmp_path) == ["archive"]
    assert (tmp_path / "data" / "archive").read_bytes() == b"old"


def test_bad_parameters_are_told_before_any_work(tmp_path):
    write_params(tmp_path, sha256=None, reslution=8)
    line = error_line(run_stage("download", tmp_path))
    assert line == "ERROR params.yaml: unknown key 'data.reslution'; did you mean 'resolution'?"
    assert not (tmp_path / "data").exists()
