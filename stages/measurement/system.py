"""The machine that numbers were taken on."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import onnxruntime
import psutil
import torch

from stages.measurement.predictor import thread_count

PACKAGES = ("torch", "torchvision", "timm", "onnx", "onnxruntime", "numpy")
FLAGS = ("avx", "avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16",
         "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16")


def describe_system(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """CPU model and instruction sets, cores, memory, GPU, system, versions and providers."""
    fields = _cpu_fields(cpuinfo)
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return {
        "cpu": {"model": fields.get("model name") or platform.processor() or platform.machine(),
                "architecture": platform.machine(),
                "cores": os.cpu_count(), "threads_used": thread_count(),
                "flags": [flag for flag in FLAGS if flag in flags]},
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpus": [{"name": torch.cuda.get_device_name(index),
                  "memory_gb": round(torch.cuda.get_device_properties(index).total_memory / 1e9, 1)}
                 for index in range(torch.cuda.device_count())],
        "os": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "providers": onnxruntime.get_available_providers(),
    }


def _cpu_fields(cpuinfo: Path) -> dict[str, str]:
    """The fields of the first processor that the kernel lists; none where there is no such file."""
    if not cpuinfo.is_file():
        return {}
    first = cpuinfo.read_text(encoding="utf-8").split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in
            (line.partition(":") for line in first.splitlines())}
