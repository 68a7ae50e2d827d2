import os
import platform
import subprocess

import pytest

from stages.inference import cpu
from stages.inference.cpu import cpu_flags, cpu_model, integer_unit, thread_count


@pytest.mark.parametrize(("flags", "unit"), [
    (["avx", "avx2", "avx512_vnni", "amx_int8"], "AMX"), (["avx2", "avx512_vnni"], "VNNI"),
    (["avx2", "avx_vnni"], "VNNI"), (["avx", "avx2", "avx512f"], "AVX2"),
    (["asimd", "asimddp"], "Arm dot product"), (["asimd"], "unknown"), ([], "unknown")])
def test_unit_by_flags(flags, unit):
    assert integer_unit(flags, "whatever") == unit


@pytest.mark.parametrize(("system", "machine", "unit"), [
    ("Darwin", "arm64", "Arm dot product"), ("Windows", "ARM64", "Arm dot product"),
    ("Darwin", "x86_64", "unknown"), ("Linux", "aarch64", "unknown")])
def test_unit_where_the_system_lists_no_flags(tmp_path, monkeypatch, system, machine, unit):
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "absent")
    flags = cpu_flags()
    assert flags == []
    assert integer_unit(flags, machine) == unit


@pytest.fixture
def groups(monkeypatch, tmp_path):
    """Where control groups of a made-up machine of 8 cores are written to, by file."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(8), raising=False)
    monkeypatch.setattr(cpu, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(cpu, "OWN_CGROUP", tmp_path / "own")

    def write(own="", **files):
        if own:
            (tmp_path / "own").write_text(own)
        for name, content in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")
    return write


def test_thread_count_is_what_this_process_may_use(monkeypatch, groups):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert thread_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert thread_count() == os.cpu_count()


@pytest.mark.parametrize(("share", "threads"), [("max 100000", 8), ("200000 100000", 2),
                                                ("150000 100000", 2), ("10000 100000", 1),
                                                ("1600000 100000", 8), ("", 8)])
def test_thread_count_is_no_more_than_a_container_may_use(groups, share, threads):
    groups(**{"cpu.max": share})
    assert thread_count() == threads


@pytest.mark.parametrize(("inner", "outer", "threads"), [
    ("200000 100000", "max 100000", 2), ("max 100000", "300000 100000", 3),
    ("500000 100000", "400000 100000", 4)])
def test_the_tightest_of_nested_groups_counts(groups, inner, outer, threads):
    groups(own="1:name=systemd:/\n0::/system.slice/run.scope\n",
           **{"system.slice/run.scope/cpu.max": inner, "system.slice/cpu.max": outer})
    assert thread_count() == threads


@pytest.mark.parametrize(("quota", "threads"), [(250000, 3), (-1, 8)])
def test_groups_of_version_1(groups, quota, threads):
    groups(own="4:cpu,cpuacct:/docker/1f2e\n",
           **{"cpu/cpu.cfs_quota_us": quota, "cpu/cpu.cfs_period_us": 100000})
    assert thread_count() == threads


def test_macos_names_its_cpu(monkeypatch, tmp_path):
    asked = []

    def run(command, **options):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "Apple M2\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "absent")
    assert cpu_model() == "Apple M2"
    assert asked == [["sysctl", "-n", "machdep.cpu.brand_string"]]
