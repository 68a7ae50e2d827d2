"""Programs run on next to nothing: their raw data is written, and a page is made of it."""

import json
import sys

import pytest
from test_page_blocks import BLOCKS

from benchmarks import depthwise_backward, elementwise_int8, interval_coverage

# What a program measures, made small.
SMALL = {"depthwise": (depthwise_backward, {"BATCH": 2, "LAYERS": ((4, 6, 5, 1),),
                                            "keep_freed_memory": lambda: None}),
         "elementwise": (elementwise_int8, {"SHAPES": ((1, 3, 3, 8),)}),
         "coverage": (interval_coverage, {"SPREADS": ((0.0, 0.1),)})}


@pytest.mark.parametrize("block", SMALL)
def test_program_writes_its_raw_data_and_its_page(block, tmp_path, monkeypatch):
    (program, changes), (page, raw, told) = SMALL[block], BLOCKS[block]
    for name, value in changes.items():
        monkeypatch.setattr(program, name, value)
    option = "--cases" if block == "coverage" else "--rounds"
    monkeypatch.setattr(sys, "argv", [block, option, "2"])
    monkeypatch.chdir(tmp_path)
    page.parent.mkdir()
    page.write_text(f"before\n<!-- {block} -->\n<!-- /{block} -->\nafter\n", encoding="utf-8")
    program.main()
    shown = told(json.loads(raw.read_text(encoding="utf-8")))
    assert page.read_text(encoding="utf-8") == (
        f"before\n<!-- {block} -->\n\n{shown}\n<!-- /{block} -->\nafter\n")
