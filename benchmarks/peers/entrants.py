"""The models that are compared: those that are there, and those that the peers make now."""

import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.child import failure
from benchmarks.peers.quantizers import CALIBRATION, PEERS
from benchmarks.peers.runtimes import OpenVinoModel, size_mb
from benchmarks.peers.subject import Subject
from stages.config.errors import UserError
from stages.config.schema import REFERENCE
from stages.inference.predictor import load_onnx
from stages.inference.session import ONNX_ERRORS, Predictor
from stages.quantization.recipe import recorded_recipe

log = logging.getLogger(__name__)

# OpenVINO and NNCF tell their makers that they are used, but not in CI.
NO_TELEMETRY = {"CI": "true", "NNCF_CI": "1"}


@dataclass(frozen=True)
class Entrant:
    """A model of the comparison.

    facts: kind (ours, or as in Peer); run_by and size_mb, or why it failed; of a model of
        `Subject.models` that is quantized, weight_bits.
    predictor: None when it did.
    """

    facts: dict[str, Any]
    predictor: Predictor | None


def gather(subject: Subject, calibration: np.ndarray, folder: Path) -> dict[str, Entrant]:
    """All models of the comparison by name; `folder` takes what the peers make.

    Args:
        calibration: preprocessed pictures, float32 (n, 3, S, S).

    Raises:
        UserError: a model that should be there is not.
    """
    np.save(folder / CALIBRATION, calibration)
    entrants = {}
    for name, path in subject.models.items():
        (folder / f"{name}.onnx").write_bytes(path.read_bytes())
        kind = "float" if name == REFERENCE else "ours"
        entrants[name] = _enter(kind, path, {}, calibration[:1])
        if recipe := recorded_recipe(onnx.load(path)):
            entrants[name].facts["weight_bits"] = 7 if recipe["reduce_range"] else 8
    for name, peer in PEERS.items():
        if peer.source not in subject.models:
            continue
        try:
            path = run_peer(name, folder)
            entrants[name] = _enter(peer.kind, path, peer.properties, calibration[:1])
        except (UserError, ImportError, RuntimeError, *ONNX_ERRORS) as error:
            failed = (str(error).strip() or type(error).__name__).splitlines()[0]
            entrants[name] = Entrant({"kind": peer.kind, "failed": failed}, None)
            log.warning("%s: %s", name, failed)
    return entrants


def run_peer(name: str, folder: Path) -> Path:
    """Have the peer `name` make its model in a process of its own, which may fail.

    Raises:
        UserError: it did; the message is the last line that it wrote, or its signal.
    """
    log.info("%s: quantizes or converts", name)
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers.quantizers", name, folder],
        capture_output=True, text=True, errors="replace",
        env={**os.environ, **NO_TELEMETRY})
    if result.returncode:
        raise UserError(failure(result.returncode, result.stderr))
    return folder / f"{name}{PEERS[name].suffix}"


def _enter(kind: str, path: Path, properties: dict[str, str], inputs: np.ndarray) -> Entrant:
    """Load the model at `path`, and run it once, for some errors come up only then."""
    if path.suffix == ".xml":
        predictor = OpenVinoModel(path, properties)
        predictor(inputs)
        run_by = f"OpenVINO ({predictor.precision})"
    else:
        predictor = load_onnx(path)
        predictor(inputs)
        run_by = "ONNX Runtime"
    return Entrant({"kind": kind, "run_by": run_by, "size_mb": size_mb(path)}, predictor)
