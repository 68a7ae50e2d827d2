"""What a program measured and what its page shows are the same."""

import json
from functools import partial
from pathlib import Path

import pytest
from paths import ROOT

from benchmarks import (
    activation_kinds,
    autopsy_page,
    calibration_memory,
    deployed,
    depthwise_backward,
    elementwise_int8,
    emulated_cpu,
    int8_layout,
    interval_coverage,
    jpeg_cost,
    layer_sensitivity,
    recovery,
    repeat_bench,
    stage_cost,
    train_throughput,
    training_runs,
    weight_kinds,
)
from benchmarks.peers.table import page_of
from benchmarks.raw_data import told_each

BLOCKS = {
    "autopsy": (autopsy_page.PAGE, autopsy_page.DATA, autopsy_page.markdown),
    "kinds": (activation_kinds.PAGE, activation_kinds.RAW, activation_kinds.told),
    "weight kinds": (weight_kinds.PAGE, weight_kinds.RAW, weight_kinds.told),
    "depthwise": (depthwise_backward.PAGE, depthwise_backward.RAW,
                  partial(told_each, depthwise_backward.told)),
    "memory": (calibration_memory.PAGE, calibration_memory.RAW, calibration_memory.told),
    "deployed": (deployed.PAGE, deployed.RAW, partial(told_each, deployed.told)),
    "emulated": (emulated_cpu.PAGE, emulated_cpu.RAW, emulated_cpu.told),
    "jpeg cost": (jpeg_cost.PAGE, jpeg_cost.RAW, jpeg_cost.told),
    "layers": (layer_sensitivity.PAGE, layer_sensitivity.RAW, layer_sensitivity.told),
    "recovery": (recovery.PAGE, recovery.RAW, recovery.told),
    "elementwise": (elementwise_int8.PAGE, elementwise_int8.RAW, elementwise_int8.told),
    "layout": (int8_layout.PAGE, int8_layout.RAW, partial(told_each, int8_layout.told)),
    "coverage": (interval_coverage.PAGE, interval_coverage.RAW, interval_coverage.told),
    "repeats": (repeat_bench.PAGE, repeat_bench.RAW, repeat_bench.told),
    "stage cost": (stage_cost.PAGE, stage_cost.RAW, stage_cost.told),
    "throughput": (train_throughput.PAGE, train_throughput.RAW,
                   partial(told_each, train_throughput.told)),
    "training runs": (training_runs.PAGE, training_runs.RAW, training_runs.told),
    "peers": (Path("docs/peers.md"), Path("docs/peers.json"), page_of)}


@pytest.mark.parametrize("name", BLOCKS)
def test_block_is_made_from_the_raw_data(name):
    page, raw, told = BLOCKS[name]
    text = (ROOT / page).read_text(encoding="utf-8")
    shown = text.partition(f"<!-- {name} -->\n")[2].partition(f"<!-- /{name} -->")[0]
    assert shown.strip() == told(json.loads((ROOT / raw).read_text(encoding="utf-8"))).strip()
