import pytest
from refusals import refusal

from stages.files.reading import read_json


def test_reads_what_stands_there(tmp_path):
    (tmp_path / "a.json").write_text('{"ä": [1, 2.5]}', encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"ä": [1, 2.5]}


def test_missing_file(tmp_path):
    assert refusal(read_json, tmp_path / "a.json") == \
        f"{tmp_path}/a.json: no such file; run 'dvc repro'"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_damaged_file(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    assert refusal(read_json, tmp_path / "a.json").startswith(
        f"{tmp_path}/a.json: not valid JSON (")
