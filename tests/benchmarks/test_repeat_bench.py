"""Whether the ratios of several runs agree, by hand; and a run that fails."""

import json
import subprocess
from pathlib import Path

import pytest
from paths import ROOT
from refusals import refusal
from synthetic import a_system

from benchmarks import repeat_bench
from benchmarks.repeat_bench import MEASURES, READ, overlap, run_once, told


def row(**intervals):
    """A row whose speed-ups lie in the middle of (low, high), for all measures unless named."""
    result = {}
    for measure in MEASURES:
        low, high = intervals.get(measure, intervals["every"])
        key = f"speedup_{measure}"
        result |= {key: (low + high) / 2, f"{key}_ci95_low": low, f"{key}_ci95_high": high}
    return result


def raw(*rows):
    return {"system": a_system(flags=["avx2"]),
            "repeats": [{"runs": 100, "rounds": 5, "passes": 5,
                         "variants": {"onnx_fp32": row(every=(1, 1)), "int8_static": each},
                         "baselines": {"torch_eager": row(every=(0.1, 0.2))}} for each in rows]}


@pytest.mark.parametrize(("intervals", "agree"), [
    ([(1, 2), (1.5, 3), (1.9, 2.5)], True), ([(1, 2), (2, 3)], True),
    ([(1, 2), (1.5, 3), (2.1, 2.5)], False), ([(1, 2), (3, 4)], False), ([(1, 2)], True)])
def test_intervals_overlap_when_they_have_a_value_in_common(intervals, agree):
    assert overlap([row(every=each) for each in intervals], "latency") is agree


def test_block_by_hand():
    text = told(raw(row(every=(1.5, 2.5)), row(every=(2, 3), throughput=(2.6, 2.8))))
    lines = text.splitlines()
    assert lines[0].startswith("A CPU (avx2), 2 threads; 100 runs of one picture and 5 of each")
    assert "5 of 6 ratios overlap" in lines[0]
    assert lines[2] == "| variant | against onnx_fp32 | run 1 | run 2 | overlap |"
    assert lines[4] == ("| int8_static | one picture | 2.00× (1.50 to 2.50) | 2.50× (2.00 to 3.00) "
                        "| yes |")
    assert lines[6].startswith("| int8_static | batches |")
    assert lines[6].endswith("| NO |")
    assert [line.split(" | ")[0] for line in lines[7:]] == ["| torch_eager"] * 3


def test_a_benchmark_runs_in_a_folder_of_its_own_on_what_is_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in READ:
        Path(path).write_text(f"this {path}")

    def benchmark(module, cwd, env):
        assert Path(cwd) != tmp_path
        assert [(Path(cwd) / path).read_text() for path in READ] == [f"this {p}" for p in READ]
        (Path(cwd) / "metrics").mkdir()
        for name in ("benchmark", "system"):
            (Path(cwd) / "metrics" / f"{name}.json").write_text(json.dumps({"of": [name, module]}))

    monkeypatch.setattr(repeat_bench, "run_module", benchmark)
    assert run_once() == ({"of": ["benchmark", "stages.benchmark"]},
                          {"of": ["system", "stages.benchmark"]})


def test_failure_of_the_benchmark_is_told_and_changes_nothing(tmp_path, monkeypatch):
    """There are no parameters in this folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["repeat_bench"])
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, env, **options: run(
        command, env={**env, "PYTHONPATH": str(ROOT)}, **options))
    assert refusal(repeat_bench.main) == ("stages.benchmark: ERROR params.yaml: no such file; run "
                                          "from the repository's root")
    assert list(tmp_path.iterdir()) == []


def test_one_run_has_nothing_to_compare_with(monkeypatch):
    monkeypatch.setattr("sys.argv", ["repeat_bench", "--times", "1"])
    monkeypatch.setattr(repeat_bench, "run_once", lambda: pytest.fail("measured"))
    assert "takes 2 or more" in refusal(repeat_bench.main)
