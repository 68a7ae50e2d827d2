"""Seconds by stage of the present run: `dvc repro`, told when each stage begins.

    python -m benchmarks.stage_times NAME

What `dvc repro` has to run is run and timed, all else keeps the time it had on this CPU and by
these parameters. The times go to stage_times.json in docs/results/NAME, of which `make publish
NAME=...` makes a table on the run's page; where no stage had to run, that file stays as it is. A
stage's time is from its beginning to the next one's, DVC's hashing and caching included. A training
that goes on where it was stopped has none.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.raw_data import measured_before
from stages.config.command_line import command_line
from stages.config.errors import UserError
from stages.config.stage import run_stage
from stages.files.atomic import write_json
from stages.measurement.system import describe_system
from stages.reporting.results import STAGE_TIMES, params_file_sha256, results_folder
from stages.training.resume import STATE_FILES

# DVC tells of each stage in one of these ways; only the first runs it.
BEGINS = re.compile(r"(Running stage|Stage) '(.+?)'")
FAILS = re.compile(r"ERROR: failed to reproduce '(.+?)'")


def seconds_by_stage(lines: Iterable[str]) -> dict[str, float]:
    """Of each stage that `dvc repro` runs to its end, until it tells of another or ends.

    Args:
        lines: of its output, which are timed as they come.
    """
    began: list[tuple[str, bool, float]] = []
    failed = None
    for line in lines:
        if found := BEGINS.match(line):
            began.append((found[2], found[1].startswith("Running"), time.perf_counter()))
        elif found := FAILS.match(line):
            failed = found[1]
    ends = [moment for _, _, moment in began[1:]] + [time.perf_counter()]
    return {stage: round(end - start, 1)
            for (stage, runs, start), end in zip(began, ends, strict=False)
            if runs and stage != failed}


def shown(lines: Iterable[str]) -> Iterator[str]:
    """`lines`, each written to stdout as it comes."""
    for line in lines:
        sys.stdout.write(line)
        sys.stdout.flush()
        yield line


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("name", help="of the run below docs/results")
    path = results_folder(parser.parse_args().name) / STAGE_TIMES
    unfinished = list(Path("models").glob(STATE_FILES.format("*")))
    with subprocess.Popen(["dvc", "repro"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as process:
        found = seconds_by_stage(shown(process.stdout))
    before, system = measured_before(path), describe_system()
    resumed = not all(state.exists() for state in unfinished)  # other runs' stay
    parameters = params_file_sha256()
    if (before.get("system", {}).get("cpu") != system["cpu"]
            or before.get("params_file_sha256") != parameters):
        before = {}  # of another machine or run
    if found:
        times = {**before.get("stages", {}), **found}
        if resumed:
            times.pop("train", None)  # only what was left of it
        write_json(path, {"stages": times,
                          "params_file_sha256": parameters, "system": system})
    if process.returncode:
        raise UserError(f"dvc repro: exit status {process.returncode}; times of the stages before "
                        "are kept")


if __name__ == "__main__":
    run_stage(main)
