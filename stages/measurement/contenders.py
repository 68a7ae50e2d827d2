"""What is timed against each other: the variants, and baselines beside them."""

import logging
import os
import shutil
from functools import partial as bind
from pathlib import Path

import numpy as np

from stages.config.errors import UserError
from stages.config.schema import Model, Params
from stages.inference.session import (
    CPU,
    Predictor,
    is_onnx,
    open_session,
    predictor_of,
    require_provider,
)
from stages.inference.torch_predictor import load_torch
from stages.measurement.scenarios import Contender
from stages.model.checkpoint import CHECKPOINT_FILE

log = logging.getLogger(__name__)


def contenders(params: Params) -> dict[str, Contender]:
    """Those that params.yaml names, by name.

    Variants run on the CPU, as where their accuracy is measured; each further one of
    `benchmark.providers` adds every ONNX variant as <variant>@<provider>, but for those that it
    refuses, and `benchmark.torch_modes` adds torch_<mode>.

    Raises:
        UserError: the CPU's provider is not the first; a provider that is not installed or refuses
            every model; no C++ compiler for torch.compile.
    """
    first, *further = params.benchmark.providers
    if first != CPU:
        raise UserError(f"benchmark.providers: the first is {first}, and must be {CPU}, which "
                        "accuracy and selection are of; name others behind it")
    for provider in further:
        require_provider(provider)
    paths = {name: Path(path) for name, path in params.variants.items()}
    onnx = {name: path for name, path in paths.items() if is_onnx(path)}
    found = {name: Contender(bind(_load_onnx, path, CPU), True) if name in onnx
             else Contender(bind(_load_torch, path, params.model), False)
             for name, path in paths.items()}
    for provider in further:
        label = provider.removesuffix("ExecutionProvider")
        found |= {f"{name}@{label}": Contender(bind(_load_onnx, path, provider), True)
                  for name, path in _accepted(onnx, provider, params.model.image_size).items()}
    for mode in params.benchmark.torch_modes:
        if mode == "compile" and not _compiler():
            raise UserError("benchmark.torch_modes: compile needs a C++ compiler, and there is "
                            "none; install g++, or leave compile out")
        found[f"torch_{mode}"] = Contender(
            bind(_load_torch, CHECKPOINT_FILE, params.model, mode=mode), False)
    return found


def _accepted(models: dict[str, Path], provider: str, image_size: int) -> dict[str, Path]:
    """Those of `models` that `provider` can run; the others are warned of.

    Each is run once: some providers fail no sooner.
    """
    picture, refusals = np.zeros((1, 3, image_size, image_size), np.float32), {}
    for name, path in models.items():
        try:
            predictor_of(open_session(path, provider=provider))(picture)
        except UserError as error:
            refusals[name] = str(error).splitlines()[0]
    if models and len(refusals) == len(models):
        raise UserError(f"benchmark.providers: {provider} can run no variant; the first says: "
                        f"{next(iter(refusals.values()))}")
    for name, refused in refusals.items():
        log.warning("%s is not timed on %s: %s", name, provider, refused)
    return {name: path for name, path in models.items() if name not in refusals}


def _load_onnx(path: Path, provider: str, threads: int) -> Predictor:
    return predictor_of(open_session(path, threads, provider))


def _load_torch(path: Path, model: Model, threads: int, **more: str) -> Predictor:
    return load_torch(path, model, **more)


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
