"""The benchmark several times over on one machine: do its ratios agree?

    python -m benchmarks.repeat_bench [--times 3]

Each time is the stage benchmark in a process of its own, on the models and parameters of this
repository, in a temporary folder, so that the repository's metrics stay as they are. Raw data goes
to docs/bench_repeats.json, the table to docs/measuring.md.
"""

import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.arguments import only_count
from benchmarks.child import run_module
from benchmarks.markdown import markdown_table
from benchmarks.raw_data import cpu_and_threads, publish
from stages.config.errors import UserError
from stages.config.params import PARAMS_FILE
from stages.config.schema import REFERENCE
from stages.config.stage import run_stage
from stages.reporting.tables import speedup

log = logging.getLogger(__name__)

RAW, PAGE = Path("docs/bench_repeats.json"), Path("docs/measuring.md")
MEASURES = {"latency": "one picture", "end_to_end": "end to end", "throughput": "batches"}
READ = (Path("data"), Path("models"), PARAMS_FILE)

Rows = dict[str, dict[str, Any]]


def run_once() -> tuple[dict[str, Any], dict[str, Any]]:
    """Benchmark in a temporary folder; what it wrote to benchmark.json and to system.json.

    Raises:
        UserError: the benchmark failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        for path in READ:
            (Path(folder) / path).symlink_to(path.resolve())
        run_module("stages.benchmark", cwd=folder,
                   env={**os.environ, "PYTHONPATH": str(Path.cwd())})
        return tuple(json.loads((Path(folder) / "metrics" / f"{name}.json").read_text())
                     for name in ("benchmark", "system"))


def overlap(rows: list[dict[str, Any]], measure: str) -> bool:
    """Whether the intervals of a speed-up have a value in common."""
    key = f"speedup_{measure}_ci95"
    return max(row[f"{key}_low"] for row in rows) <= min(row[f"{key}_high"] for row in rows)


def table(repeats: list[Rows]) -> str:
    """Speed-ups of each time, beside each other, and whether they agree."""
    lines = []
    for name in repeats[0]:
        if name == REFERENCE:
            continue
        rows = [repeat[name] for repeat in repeats]
        lines += [(name, label, *(speedup(row, measure) for row in rows),
                   "yes" if overlap(rows, measure) else "NO")
                  for measure, label in MEASURES.items()]
    runs = (f"run {number + 1}" for number in range(len(repeats)))
    return markdown_table(("variant", f"against {REFERENCE}", *runs, "overlap"), lines)


def told(raw: dict[str, Any]) -> str:
    """The block of the page: where it was measured, the table, and how many intervals overlap."""
    repeats = [{**repeat["variants"], **repeat["baselines"]} for repeat in raw["repeats"]]
    agree = [overlap([repeat[name] for repeat in repeats], measure)
             for name in repeats[0] if name != REFERENCE for measure in MEASURES]
    settings = raw["repeats"][0]
    return (f"{cpu_and_threads(raw['system'])}; {settings['runs']} runs of one "
            f"picture and {settings['rounds']} of each batch setting, in {settings['passes']} "
            f"passes; {len(repeats)} runs of the benchmark, one after the other. The intervals of "
            f"{sum(agree)} of {len(agree)} ratios overlap.\n\n{table(repeats)}")


def main() -> None:
    times = only_count(__doc__, "--times", 3)
    if times < 2:
        raise UserError("--times: got 1, takes 2 or more to compare")
    results = []
    for number in range(times):
        log.info("run %d of %d", number + 1, times)
        results.append(run_once())
    raw = {"system": results[-1][1], "repeats": [benchmark for benchmark, _ in results]}
    print(publish(RAW, PAGE, "repeats", raw, told))


if __name__ == "__main__":
    run_stage(main)
