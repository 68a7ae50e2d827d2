"""Say which INT8 arithmetic this CPU has and which recipe suits it; not a stage of the pipeline."""

import argparse
import platform
import sys

from stages.config.stage import run_stage
from stages.measurement.preflight import (
    cpu_fields,
    cpu_flags,
    integer_unit,
    products_saturate,
    recommended_preset,
)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    flags, machine = cpu_flags(), platform.machine()
    unit, saturates = integer_unit(flags, machine), products_saturate()
    sums = "cut off beyond 16 bits" if saturates else "exact"
    preset = recommended_preset(unit, saturates)
    sys.stdout.write(f"CPU                 {cpu_fields().get('model name') or machine}\n"
                     f"instruction sets    {', '.join(flags) or 'not told by this system'}\n"
                     f"INT8 unit           {unit}\n"
                     f"sums of products    {sums}\n"
                     f"recipes that suit   -S quantize={preset} (of dvc exp run)\n")


if __name__ == "__main__":
    run_stage(main)
