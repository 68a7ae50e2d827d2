"""The machine that numbers were taken on."""

import importlib.metadata
import os
import platform
from typing import Any

import onnxruntime
import psutil
import torch

from stages.inference.cpu import cpu_flags, cpu_model, thread_count

PACKAGES = ("torch", "torchvision", "timm", "onnx", "numpy")


def describe_system() -> dict[str, Any]:
    """CPU model and instruction sets, cores, memory, GPU, system, versions and providers."""
    return {
        "cpu": {"model": cpu_model(),
                "architecture": platform.machine(),
                "cores": os.cpu_count(), "threads_used": thread_count(),
                "flags": cpu_flags()},
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpus": [{"name": torch.cuda.get_device_name(index),
                  "memory_gb": round(torch.cuda.get_device_properties(index).total_memory / 1e9, 1)}
                 for index in range(torch.cuda.device_count())],
        "os": platform.platform(terse=True),
        "python": platform.python_version(),
        # ONNX Runtime's wheels with other providers have other names, and the same module.
        "packages": {**{name: importlib.metadata.version(name) for name in PACKAGES},
                     "onnxruntime": onnxruntime.__version__},
        "providers": onnxruntime.get_available_providers(),
    }
