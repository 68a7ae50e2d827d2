"""Hardware preflight: which INT8 arithmetic this CPU has, and which recipe suits it.

    python -m stages.preflight
    dvc exp run -S quantize=$(python -m stages.preflight --recipes)
"""

import platform

from stages.config.command_line import command_line
from stages.config.stage import run_stage
from stages.inference.cpu import cpu_flags, cpu_model, integer_unit
from stages.inference.saturation import products_saturate


def recommended_preset(unit: str, saturates: bool) -> str:
    """The file of conf/quantize whose recipes suit a CPU.

    The default's weights have 7 bits, which any CPU adds up exactly. Where all 8 are exact too, the
    bit is to be had: U8S8 on x86, S8S8 on Arm.
    """
    if unit == "Arm dot product":
        return "int8_signed"
    return "int8" if saturates else "int8_full_range"


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--recipes", action="store_true",
                        help="print the preset of conf/quantize that suits, and nothing else")
    arguments = parser.parse_args()
    flags, machine = cpu_flags(), platform.machine()
    unit, saturates = integer_unit(flags, machine), products_saturate()
    sums = "cut off beyond 16 bits" if saturates else "exact"
    preset = recommended_preset(unit, saturates)
    if arguments.recipes:
        print(preset)
        return
    print(f"CPU                 {cpu_model()}\n"
          f"instruction sets    {', '.join(flags) or 'not told by this system'}\n"
          f"INT8 unit           {unit}\n"
          f"sums of products    {sums}\n"
          f"recipes that suit   -S quantize={preset} (of dvc exp run)")


if __name__ == "__main__":
    run_stage(main)
