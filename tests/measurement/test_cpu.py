import platform

import pytest

from stages.measurement.cpu import cpu_flags, integer_unit


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
    flags = cpu_flags(tmp_path / "absent")
    assert flags == []
    assert integer_unit(flags, machine) == unit
