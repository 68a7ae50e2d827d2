"""What was measured before, or nothing yet; and numbers that JSON does not have."""

import json

import pytest
from refusals import refusal

from benchmarks.raw_data import measured_before, recorded_db


def test_nothing_was_measured_before_the_first_time(tmp_path):
    assert measured_before(tmp_path / "raw.json") == {}


def test_what_was_measured_before_is_read(tmp_path):
    content = {"a model": {"accuracy": 0.5}}
    (tmp_path / "raw.json").write_text(json.dumps(content), encoding="utf-8")
    assert measured_before(tmp_path / "raw.json") == content


def test_a_file_that_was_cut_short_is_told_in_one_line(tmp_path):
    (tmp_path / "raw.json").write_text('{"a model": {"accu', encoding="utf-8")
    assert "raw.json: not valid JSON" in refusal(measured_before, tmp_path / "raw.json")


@pytest.mark.parametrize(("ratio", "recorded"), [
    (23.46, 23.5), (-3.0, -3.0), (float("nan"), None)])
def test_ratio_in_decibels_is_one_that_json_has(ratio, recorded):
    assert recorded_db(ratio) == recorded
