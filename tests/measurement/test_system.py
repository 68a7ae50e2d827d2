import importlib.metadata
import json
import os
import platform

import numpy
import onnxruntime
import pytest
import timm

from stages.inference import cpu
from stages.measurement.system import describe_system

X86 = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8480+ @ 2.00GHz
flags\t\t: fpu sse sse2 fma avx avx2 avx512f avx512bw avx512_vnni avx512_bf16 amx_bf16 amx_int8

processor\t: 1
vendor_id\t: GenuineIntel
model name\t: a second socket
flags\t\t: fpu sse avx_vnni
"""

ARM = """\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes crc32 atomics asimddp sve i8mm bf16
CPU implementer\t: 0x41
CPU part\t: 0xd40

processor\t: 1
Features\t: fp
"""


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    """Where the kernel of a made-up machine would describe its processors."""
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    return cpu.CPUINFO


@pytest.fixture
def described(cpuinfo):
    def describe(text):
        cpuinfo.write_text(text, encoding="utf-8")
        return describe_system()["cpu"]
    return describe


def test_x86(described):
    found = described(X86)
    assert found["model"] == "Intel(R) Xeon(R) Platinum 8480+ @ 2.00GHz"
    assert found["flags"] == ["avx", "avx2", "fma", "avx512f", "avx512bw", "avx512_vnni",
                              "avx512_bf16", "amx_int8", "amx_bf16"]


def test_arm(described, monkeypatch):
    """The kernel names no model there, but numbers."""
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    found = described(ARM)
    assert found["flags"] == ["asimd", "asimddp", "i8mm", "bf16"]
    assert (found["model"], found["architecture"]) == ("aarch64 0x41 0xd40", "aarch64")


def test_no_cpuinfo(cpuinfo, monkeypatch):
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    found = describe_system()["cpu"]
    assert (found["model"], found["flags"]) == ("arm", [])


@pytest.mark.parametrize("text", ["", "\n\n", "no fields at all\n"])
def test_cpuinfo_of_another_form(described, text):
    found = described(text)
    assert found["model"]
    assert found["flags"] == []


def test_a_wheel_of_onnx_runtime_with_other_providers(monkeypatch):
    """It has another name than the module, as in onnxruntime-openvino."""
    def version(name):
        assert name != "onnxruntime", "not installed by that name"
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert describe_system()["packages"]["onnxruntime"] == onnxruntime.__version__


def test_the_rest():
    system = describe_system()
    assert json.loads(json.dumps(system, allow_nan=False)) == system
    assert 1 <= system["cpu"]["threads_used"] <= system["cpu"]["cores"]
    assert system["memory_gb"] == pytest.approx(
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, rel=0.05)
    assert system["python"] == platform.python_version()
    assert system["packages"].items() >= {"numpy": numpy.__version__, "timm": timm.__version__,
                                          "onnxruntime": onnxruntime.__version__}.items()
    assert "CPUExecutionProvider" in system["providers"]
