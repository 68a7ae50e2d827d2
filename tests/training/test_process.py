import ctypes
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from paths import ROOT

from stages.training import process

# Page faults of taking and freeing a large block again, once the first time is over.
PROBE = """
import ctypes, resource, sys
from stages.training.process import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes, libc.memset.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int,
                                                               ctypes.c_size_t]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(1 << 27)
    libc.memset(block, 1, 1 << 27)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "keep":
    keep_freed_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
def test_freed_memory_is_taken_again_without_page_faults():
    def probe(how):
        return int(subprocess.run([sys.executable, "-c", PROBE, how], cwd=ROOT, check=True,
                                  capture_output=True, text=True).stdout)

    assert probe("keep") < 0.2 * probe("leave")


def test_tells_glibc_its_three_thresholds(monkeypatch):
    told = {}
    library = SimpleNamespace(mallopt=lambda option, value: told.update({option: value}) or 1)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    process.keep_freed_memory()
    assert told == {-4: 0, -1: -1, -2: 2**29}  # numbers of malloc.h


@pytest.mark.parametrize("kind", ["no such library", "no such function"])
def test_another_c_library_is_left_alone(monkeypatch, caplog, kind):
    def load(name):
        if kind == "no such library":
            raise OSError("libc.so.6: cannot open shared object file")
        return SimpleNamespace()

    monkeypatch.setattr(ctypes, "CDLL", load)
    caplog.set_level("INFO")
    process.keep_freed_memory()
    assert "not glibc" in caplog.text


@pytest.mark.parametrize("accelerator", [True, False])
def test_only_beside_a_cpu_may_operators_be_missing(monkeypatch, accelerator):
    asked = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator)
    monkeypatch.setattr(torch, "use_deterministic_algorithms",
                        lambda mode, warn_only: asked.append((mode, warn_only)))
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    process.compute_deterministically()
    assert asked == [(True, accelerator)]
    assert not torch.utils.deterministic.fill_uninitialized_memory
