"""A file is there whole or not at all."""

import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.files.atomic import replacing, write_csv, write_json


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_is_made_and_the_old_file_replaced(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    for content in ("old", "new"):
        with replacing(path) as partial:
            partial.write_text(content)
        assert path.read_text() == content
    assert names_in(path.parent) == ["file"]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", ["old", None])
def test_a_failing_block_leaves_what_was_there(tmp_path, error, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_text(old)

    def fail():
        with replacing(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert names_in(tmp_path) == (["file"] if old else [])
    assert old is None or path.read_text() == old


def test_the_new_content_shows_only_at_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert partial.parent == path.parent  # a rename, not a copy, on every file system
    assert path.read_text() == "new"


def test_what_a_killed_run_left_is_not_taken_for_new(tmp_path):
    path = tmp_path / "file"
    (tmp_path / "file.partial").write_text("left by a killed run")
    with replacing(path) as partial:
        assert not partial.exists()
        partial.write_text("new")
    assert path.read_text() == "new"


def test_a_block_that_writes_nothing_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_text() == "old"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@settings(max_examples=50)
@given(value=VALUES)
def test_json_comes_back_as_it_was(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_json(path, value)
    assert json.loads(path.read_text(encoding="utf-8")) == value


def test_json_keeps_the_order_of_keys(tmp_path):
    write_json(tmp_path / "file", {"z": 1, "a": 2})
    assert list(json.loads((tmp_path / "file").read_text())) == ["z", "a"]


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": -float("inf")}, object()])
def test_json_that_another_reader_refuses_is_not_written(tmp_path, value):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises((ValueError, TypeError)):
        write_json(path, value)
    assert names_in(tmp_path) == ["file"]
    assert path.read_text() == "old"


def test_csv_comes_back_without_an_index(tmp_path):
    table = pd.DataFrame({"name": ["a,b", 'c"d'], "value": [1.5, -2.0]}, index=[7, 8])
    write_csv(tmp_path / "table.csv", table)
    read = pd.read_csv(tmp_path / "table.csv")
    pd.testing.assert_frame_equal(read, table.reset_index(drop=True))
