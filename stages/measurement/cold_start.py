"""What starting a model costs: time to load it, its first run, and memory, in a new process.

Nothing is imported that the model does without: an ONNX model's process has no PyTorch in it.
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

from stages.config.command_line import command_line
from stages.config.errors import UserError
from stages.config.stage import run_stage
from stages.inference.session import is_onnx, open_session, predictor_of

STATUS = Path("/proc/self/status")
KIB = 1024
STARTS = 3
ENOUGH_S = 3.0


def peak_memory_bytes(status: Path = STATUS) -> int:
    """The most memory this process has had resident.

    On Linux that is VmHWM: ru_maxrss, used elsewhere, can be the parent's there.
    """
    told = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.M) if status.is_file() else None
    if told:
        return int(told[1]) * KIB
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * KIB


def start(path: Path, picture: np.ndarray) -> dict[str, float]:
    """Load the model at `path`, run it once on float32 (1, 3, S, S), and tell what that cost."""
    if is_onnx(path):
        began = time.perf_counter()
        predictor = predictor_of(open_session(path))
    else:
        from stages.config.params import load_params
        from stages.inference.torch_predictor import load_torch

        params = load_params("model").model
        began = time.perf_counter()
        predictor = load_torch(path, params)
    loaded = time.perf_counter()
    predictor(picture)
    return {"load_ms": 1e3 * (loaded - began),
            "first_run_ms": 1e3 * (time.perf_counter() - loaded),
            "peak_memory_mb": peak_memory_bytes() / 1e6}


def cold_start(path: Path, picture: Path) -> dict[str, float]:
    """Medians of what `start` tells in STARTS new processes; in fewer when they are slow.

    No further one is started after ENOUGH_S: most of a PyTorch process's time is its imports, which
    are not measured.

    Args:
        picture: a .npy file, float32 (1, 3, S, S).

    Returns:
        `load_ms`, `first_run_ms`, `peak_memory_mb`, and `starts`: how many processes there were.

    Raises:
        UserError: such a process ended without an answer, as when memory runs out.
    """
    command = [sys.executable, "-m", "stages.measurement.cold_start", str(path), str(picture)]
    told: list[dict[str, float]] = []
    began = time.perf_counter()
    while not told or (len(told) < STARTS and time.perf_counter() - began < ENOUGH_S):
        finished = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if finished.returncode:
            raise UserError(f"{path}: a process that loads it and runs one picture ended with "
                            f"status {finished.returncode} (-9: memory ran out)")
        told.append(json.loads(finished.stdout.splitlines()[-1]))
    return {**{key: median(row[key] for row in told) for key in told[0]}, "starts": len(told)}


def main() -> None:
    parser = command_line("What starting a model costs, as JSON.")
    parser.add_argument("model", type=Path, help="an ONNX model or a checkpoint")
    parser.add_argument("picture", type=Path, help="a .npy file, float32 (1, 3, S, S)")
    arguments = parser.parse_args()
    print(json.dumps(start(arguments.model, np.load(arguments.picture))))


if __name__ == "__main__":
    run_stage(main)
