"""How often the 95 % interval of a speed-up holds the true ratio.

    python -m benchmarks.interval_coverage [--cases 500]

Logarithms of times are normal, the true ratio is 1; passes differ, or don't. Raw data goes to
docs/interval_coverage.json, the table to docs/measuring.md.
"""

import logging
from pathlib import Path

import numpy as np

from benchmarks.arguments import only_count
from benchmarks.markdown import markdown_table
from benchmarks.raw_data import publish
from stages.config.stage import run_stage
from stages.measurement.intervals import ratio_interval
from stages.measurement.scenarios import PASSES

log = logging.getLogger(__name__)

RAW, PAGE = Path("docs/interval_coverage.json"), Path("docs/measuring.md")
# Standard deviation of the logarithm of a ratio: from pass to pass, and from round to round.
SPREADS = ((0.0, 0.1), (0.05, 0.1), (0.05, 0.02), (0.087, 0.123))
ROUNDS = (20, 2, 1)  # of a pass: one picture, batches, and batches under docs/results/


def simulate(between: float, within: float, rounds: int, cases: int) -> dict[str, float]:
    """Shares of `cases` intervals that hold the true ratio, and that lie wholly above it."""
    random = np.random.default_rng(0)
    held = above = 0
    for _ in range(cases):
        times = np.exp(random.normal(0, between, (PASSES, 1))
                       + random.normal(0, within, (PASSES, rounds)))
        _, low, high = ratio_interval(np.ones_like(times), times)
        held += low <= 1 <= high
        above += low > 1
    return {"between": between, "within": within, "rounds": rounds,
            "held": held / cases, "above": above / cases}


def told(run: dict) -> str:
    """The page's block."""
    table = markdown_table(
        ("rounds a pass", "spread of passes", "spread of rounds", "interval holds the ratio",
         "lies above it"),
        [(row["rounds"], *(f"{100 * row[share]:.1f} %"
                           for share in ("between", "within", "held", "above")))
         for row in run["rows"]])
    return f"{run['cases']} simulated cases a row, {run['passes']} passes.\n\n{table}"


def main() -> None:
    cases = only_count(__doc__, "--cases", 500)
    rows = []
    for rounds in ROUNDS:
        for between, within in SPREADS:
            rows.append(simulate(between, within, rounds, cases))
            log.info("%s", rows[-1])
    publish(RAW, PAGE, "coverage", {"cases": cases, "passes": PASSES, "rows": rows}, told)


if __name__ == "__main__":
    run_stage(main)
