import gc
import json

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from paths import ROOT
from refusals import refusal
from synthetic import TINY, leave_prepared, make_dataset, model_params, random_model
from tiny_model import SIDE, write_body

from stages import benchmark
from stages.measurement import scenarios
from stages.measurement.scenarios import Measurement, Setting
from stages.model.checkpoint import CHECKPOINT_FILE, save_checkpoint


@pytest.fixture
def measured():
    return Measurement(offline={
        Setting("a", 8, 1): [[0.5], [1.0], [2.0]], Setting("a", 1, 1): [[0.1], [], [0.1]],
        Setting("a", 8, 2): [[4.0], [4.0], [4.0]], Setting("b", 8, 1): [[2.0], [2.0], [2.0]],
        Setting("b", 1, 1): [[0.5], [], [0.5]]})


def test_runs_of_all_passes_stand_in_one_column():
    table = benchmark.by_run({"a": [[0.001, 0.002], [0.003]], "b": [[0.01, 0.02], [0.03]]})
    assert table.to_dict("list") == {"run": [0, 1, 2], "a": [1, 2, 3], "b": [10, 20, 30]}


def test_every_run_of_a_setting_is_kept(measured):
    table = benchmark.by_setting(measured)
    assert list(table) == ["name", "batch_size", "streams", "round", "ms"]
    assert len(table) == 13
    kept = table[(table["name"] == "a") & (table.batch_size == 8) & (table.streams == 1)]
    assert kept["round"].tolist() == [0, 1, 2]
    assert kept.ms.tolist() == [500, 1000, 2000]


def test_throughput_by_batch_size_is_of_the_better_streams(measured):
    assert benchmark.by_batch_size(measured).to_dict("list") == {
        "batch_size": [8, 1], "a": [8, 10], "b": [4, 2]}


def test_percentile_that_the_runs_cannot_bound_stops_before_any_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text.replace("  - 90\n", "  - 99\n"))
    assert "percentile 99 with its interval needs 368" in refusal(benchmark.main)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with pictures, a checkpoint, a small ONNX model, and parameters of a short run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gc, "collect", lambda: None)  # takes a second after hundreds of tests
    data, model = make_dataset(40), model_params(TINY, SIDE)
    leave_prepared(tmp_path, data)
    save_checkpoint(CHECKPOINT_FILE, random_model(model), model, data.classes)
    write_body(tmp_path, "float").rename("models/onnx_fp32.onnx")
    OmegaConf.save({"model": model, "variants": {"torch_fp32": str(CHECKPOINT_FILE),
                                                 "onnx_fp32": "models/onnx_fp32.onnx"},
                    "benchmark": {"latency_runs": 10, "percentiles": [40], "warmup_runs": 1,
                                  "batch_sizes": [1, 2], "throughput_rounds": 5,
                                  "providers": ["CPUExecutionProvider"],
                                  "torch_modes": ["eager"]}}, "params.yaml")
    return tmp_path


def test_stage_writes_what_its_readers_need(folder, monkeypatch):
    started = []
    monkeypatch.setattr(scenarios, "in_new_process", lambda call: call())
    monkeypatch.setattr(benchmark, "cold_start", lambda path, picture: (
        started.append((path.name, np.load(picture).shape)) or {"load_ms": 1.0}))
    benchmark.main()
    assert started == [(name, (1, 3, SIDE, SIDE)) for name in ("checkpoint.pt", "onnx_fp32.onnx")]
    told = json.loads((folder / "metrics" / "benchmark.json").read_text())
    assert told["percentiles"] == [40, 50]
    assert list(told["variants"]) == ["torch_fp32", "onnx_fp32"]
    assert list(told["baselines"]) == ["torch_eager"]
    assert told["variants"]["onnx_fp32"]["speedup_latency"] == 1
    for row in told["variants"].values():
        assert {"latency_p40_ms", "latency_p50_ms", "throughput_img_s", "load_ms"} <= set(row)
    for name in ("latency_runs", "end_to_end_runs"):
        runs = pd.read_csv(folder / "plots" / f"{name}.csv")
        assert list(runs) == ["run", "torch_fp32", "onnx_fp32", "torch_eager"]
        assert len(runs) == 10
    speeds = pd.read_csv(folder / "plots" / "throughput.csv")
    assert list(speeds) == ["batch_size", "torch_fp32", "onnx_fp32", "torch_eager"]
    assert speeds.batch_size.tolist() == [1, 2]
    for name in ("offline_runs", "node_time"):
        assert len(pd.read_csv(folder / "plots" / f"{name}.csv"))
    assert json.loads((folder / "metrics" / "system.json").read_text())["cpu"]
