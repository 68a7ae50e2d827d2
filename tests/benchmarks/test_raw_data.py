"""What was measured before, and what comes beside it; numbers that JSON does not have."""

import json
from functools import partial

import pytest
from synthetic import a_system

from benchmarks import raw_data
from benchmarks.raw_data import (
    cpu_and_threads,
    measured_before,
    publish,
    publish_by_cpu,
    recorded_db,
)


@pytest.fixture
def page(tmp_path):
    """A page with an empty block, beside which raw data may be put."""
    path = tmp_path / "page.md"
    path.write_text("top\n<!-- block -->\n<!-- /block -->\nend\n", encoding="utf-8")
    return path


def test_nothing_was_measured_before_the_first_time(tmp_path):
    assert measured_before(tmp_path / "raw.json") == {}


def test_what_was_measured_before_is_read(tmp_path):
    content = {"a model": {"accuracy": 0.5}}
    (tmp_path / "raw.json").write_text(json.dumps(content), encoding="utf-8")
    assert measured_before(tmp_path / "raw.json") == content


@pytest.mark.parametrize(("ratio", "recorded"), [
    (23.46, 23.5), (-3.0, -3.0), (float("nan"), None)])
def test_ratio_in_decibels_is_one_that_json_has(ratio, recorded):
    assert recorded_db(ratio) == recorded


def test_machine_is_its_cpu_and_threads():
    assert cpu_and_threads(a_system()) == "A CPU (avx2, fma), 2 threads"


def test_raw_data_and_page_are_written_together(page):
    raw = page.with_suffix(".json")
    assert publish(raw, page, "block", {"rounds": 3}, "rounds: {rounds}\n".format_map) == \
        "rounds: 3\n"
    assert measured_before(raw) == {"rounds": 3}
    assert page.read_text(encoding="utf-8") == (
        "top\n<!-- block -->\n\nrounds: 3\n\n<!-- /block -->\nend\n")


def test_a_cpu_is_measured_anew_and_the_others_stay(page, monkeypatch):
    raw = page.with_suffix(".json")
    for model, rounds in (("one", 1), ("other", 2), ("one", 3)):
        monkeypatch.setattr(raw_data, "describe_system", partial(a_system, model=model))
        block = publish_by_cpu(raw, page, "block", partial(dict, rounds=rounds), lambda record: (
            f"{record['system']['cpu']['model']}: {record['rounds']}"))
    assert measured_before(raw) == {
        "one (avx2, fma), 2 threads": {"rounds": 3, "system": a_system(model="one")},
        "other (avx2, fma), 2 threads": {"rounds": 2, "system": a_system(model="other")}}
    assert block == "one: 3\n\nother: 2"
    assert block in page.read_text(encoding="utf-8")
