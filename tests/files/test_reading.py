import pytest
from refusals import refusal

from stages.files.reading import read_csv, read_json


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


def test_a_key_that_is_not_there_is_told_with_the_file(tmp_path):
    (tmp_path / "a.json").write_text('{"cpu": {"model": "Abacus"}}')
    content = read_json(tmp_path / "a.json")
    assert content["cpu"]["model"] == "Abacus"
    assert content.get("gpu") is None
    for values, key in ((content, "gpu"), (content["cpu"], "flags")):
        assert refusal(lambda values=values, key=key: values[key]).startswith(
            f"{tmp_path}/a.json: has no '{key}'")


@pytest.mark.parametrize("content", ["[]", "null", "3"])
def test_json_that_is_no_object(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    assert "holds no JSON object" in refusal(read_json, tmp_path / "a.json")


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2,3\n4\n\"", b"a\n\xff"])
def test_csv_that_is_none(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    assert refusal(read_csv, tmp_path / "a.csv").startswith(f"{tmp_path}/a.csv: not valid CSV (")
