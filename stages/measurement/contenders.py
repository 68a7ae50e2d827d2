"""What is timed against each other: the variants, and baselines beside them."""

import functools
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial as bind
from pathlib import Path

from stages.config.errors import UserError
from stages.config.schema import Params
from stages.measurement.predictor import Predictor, load_predictor, load_torch
from stages.measurement.session import require_provider
from stages.model.checkpoint import CHECKPOINT_FILE


@dataclass(frozen=True)
class Contender:
    """A model and a way to run it.

    load: gives a predictor of as many threads as it is asked for.
    streams: whether several of one thread can run side by side. PyTorch has one number of threads
        for the whole process, so it can't, and is loaded once.
    """

    load: Callable[[int], Predictor]
    streams: bool


def contenders(params: Params) -> dict[str, Contender]:
    """Those that params.yaml names, by name.

    Variants run on the first of `benchmark.providers`; each further one adds every ONNX variant
    as <variant>@<provider>, and `benchmark.torch_modes` adds torch_<mode>.

    Raises:
        UserError: a provider that is not installed; no C++ compiler for torch.compile.
    """
    first, *further = params.benchmark.providers
    for provider in (first, *further):
        require_provider(provider)
    paths = {name: Path(path) for name, path in params.variants.items()}
    onnx = {name: path for name, path in paths.items() if path.suffix != ".pt"}
    found = {name: _onnx(path, params, first) if name in onnx else _torch(path, params)
             for name, path in paths.items()}
    for provider in further:
        label = provider.removesuffix("ExecutionProvider")
        found |= {f"{name}@{label}": _onnx(path, params, provider)
                  for name, path in onnx.items()}
    for mode in params.benchmark.torch_modes:
        if mode == "compile" and not _compiler():
            raise UserError("benchmark.torch_modes: compile needs a C++ compiler, and there is "
                            "none; install g++, or leave compile out")
        found[f"torch_{mode}"] = _torch(CHECKPOINT_FILE, params, mode)
    return found


def _onnx(path: Path, params: Params, provider: str) -> Contender:
    return Contender(lambda threads: load_predictor(path, params.model, threads, provider), True)


def _torch(path: Path, params: Params, mode: str = "channels_last") -> Contender:
    load = functools.cache(bind(load_torch, path, params.model, mode))
    return Contender(lambda threads: load(), False)


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
