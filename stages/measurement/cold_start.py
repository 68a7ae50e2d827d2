"""What starting a model costs: time to load it, its first run, and memory, in a new process.

Nothing is imported that the model does without: an ONNX model's process has no PyTorch in it.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

from stages.measurement.session import CPU, open_session, thread_count

STATUS = Path("/proc/self/status")
KIB = 1024


def peak_memory_bytes(status: Path = STATUS) -> int:
    """The most memory this process has had resident.

    On Linux that is VmHWM: ru_maxrss, used elsewhere, can be the parent's there.
    """
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * KIB
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * KIB


def start(path: Path, picture: np.ndarray, provider: str) -> dict[str, float]:
    """Load the model at `path`, run it once on float32 (1, 3, S, S), and tell what that cost."""
    if path.suffix == ".pt":
        from stages.config.params import load_params
        from stages.measurement.predictor import load_predictor

        params = load_params("model").model
        began = time.perf_counter()
        predictor = load_predictor(path, params)
    else:
        began = time.perf_counter()
        session = open_session(path, thread_count(), provider)
        name = session.get_inputs()[0].name

        def predictor(batch: np.ndarray) -> np.ndarray:
            return session.run(None, {name: batch})[0]
    loaded = time.perf_counter()
    predictor(picture)
    return {"load_ms": 1e3 * (loaded - began),
            "first_run_ms": 1e3 * (time.perf_counter() - loaded),
            "peak_memory_mb": peak_memory_bytes() / 1e6}


def cold_start(path: Path, picture: Path, provider: str, starts: int) -> dict[str, float]:
    """Medians of what `start` tells, of as many new processes as `starts`.

    `picture` is a .npy file. The model's file is in the system's cache by then.
    """
    command = [sys.executable, "-m", "stages.measurement.cold_start", str(path), str(picture),
               provider]
    told = [json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                       .stdout.splitlines()[-1]) for _ in range(starts)]
    return {key: median(row[key] for row in told) for key in told[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="an ONNX model or a checkpoint")
    parser.add_argument("picture", type=Path, help="a .npy file, float32 (1, 3, S, S)")
    parser.add_argument("provider", nargs="?", default=CPU)
    arguments = parser.parse_args()
    print(json.dumps(start(arguments.model, np.load(arguments.picture), arguments.provider)))


if __name__ == "__main__":
    main()
