"""What this CPU is: the fields and instruction sets that its kernel lists."""

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
FLAGS = ("avx", "avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16",
         "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16")
ARM = ("arm64", "aarch64")


def cpu_fields(cpuinfo: Path = CPUINFO) -> dict[str, str]:
    """The fields of the first processor that the kernel lists; none where there is no such file."""
    if not cpuinfo.is_file():
        return {}
    first = cpuinfo.read_text(encoding="utf-8").split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in
            (line.partition(":") for line in first.splitlines())}


def cpu_flags(cpuinfo: Path = CPUINFO) -> list[str]:
    """Which of FLAGS this CPU has; none where the kernel does not say (macOS, Windows)."""
    fields = cpu_fields(cpuinfo)
    told = set((fields.get("flags") or fields.get("Features") or "").split())
    return [flag for flag in FLAGS if flag in told]


def integer_unit(flags: list[str], machine: str) -> str:
    """The best INT8 instructions among `flags`, by the name they are known by."""
    for unit, needed in (("AMX", {"amx_int8"}), ("VNNI", {"avx512_vnni", "avx_vnni"}),
                         ("AVX2", {"avx2"}), ("Arm dot product", {"asimddp", "i8mm"})):
        if needed & set(flags):
            return unit
    # Apple's and Microsoft's Arm computers have it, and their systems don't list it.
    if machine.lower() in ARM and platform.system() in ("Darwin", "Windows"):
        return "Arm dot product"
    return "unknown"
