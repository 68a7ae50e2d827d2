"""What this CPU is, and how much of it this process may use, as its kernel tells."""

import math
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
FLAGS = ("avx", "avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16",
         "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16")
ARM = ("arm64", "aarch64")


def cpu_fields() -> dict[str, str]:
    """The fields of the first processor that the kernel lists; none where there is no such file."""
    if not CPUINFO.is_file():
        return {}
    first = CPUINFO.read_text(encoding="utf-8").split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in
            (line.partition(":") for line in first.splitlines())}


def cpu_model() -> str:
    """What this CPU is called; on Arm by its maker's number and its own, which is all Linux tells.
    """
    fields = cpu_fields()
    numbers = " ".join(fields[key] for key in ("CPU implementer", "CPU part") if key in fields)
    return (fields.get("model name") or _told_by_macos()
            or f"{platform.processor() or platform.machine()} {numbers}".strip())


def _told_by_macos() -> str:
    try:
        return subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True,
                              text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def cpu_flags() -> list[str]:
    """Which of FLAGS this CPU has; none where the kernel does not say (macOS, Windows)."""
    fields = cpu_fields()
    told = set((fields.get("flags") or fields.get("Features") or "").split())
    return [flag for flag in FLAGS if flag in told]


def thread_count() -> int:
    """The number of CPU cores this process may use, a container's share included."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min([cores, *map(math.ceil, _cpu_shares())])


def _cpu_shares() -> Iterator[float]:
    """CPU time over wall time that each control group around this process grants it, if any does.

    Source: the kernel's cgroup-v2.rst (cpu.max) and sched-bwc.rst (version 1).
    """
    try:
        [own] = [line.removeprefix("0::/") for line in OWN_CGROUP.read_text().splitlines()
                 if line.startswith("0::/")]
    except (OSError, ValueError):  # not Linux, or version 1 alone
        own = ""
    told = [CGROUPS.joinpath(*Path(own).parts[:depth], "cpu.max")
            for depth in range(len(Path(own).parts) + 1)]
    old = [CGROUPS / "cpu" / name for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    for files in (*([path] for path in told), old):
        try:
            quota, period = map(int, " ".join(path.read_text() for path in files).split())
        except (OSError, ValueError):  # no such file, or "max" for all there is
            continue
        if quota > 0:  # version 1 says -1 for all there is
            yield quota / period


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
