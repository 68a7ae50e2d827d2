"""Time by node: what ONNX Runtime's profiler says of the graph that it really runs."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from stages.inference.session import open_session

KERNEL = "_kernel_time"


def node_times(path: Path, inputs: np.ndarray, runs: int) -> pd.DataFrame:
    """Median time of each node of the ONNX model at `path` over `runs`, in the order they run.

    Profiling slows small nodes down: compare nodes with each other, not with a latency.

    Args:
        inputs: float32 (B, 3, S, S), the same in every run.

    Returns:
        Columns `node`, `operator` and `ms`.
    """
    with TemporaryDirectory() as folder:
        session = open_session(path, enable_profiling=True,
                               profile_file_prefix=str(Path(folder) / "profile"))
        name = session.get_inputs()[0].name
        for _ in range(1 + runs):
            session.run(None, {name: inputs})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    kernels = pd.DataFrame([
        {"node": event["name"].removesuffix(KERNEL), "operator": event["args"]["op_name"],
         "ms": event["dur"] / 1e3}
        for event in events if event["cat"] == "Node" and event["name"].endswith(KERNEL)])
    # The first run warms up.
    timed = kernels[kernels.groupby("node").cumcount() > 0]
    return timed.groupby(["node", "operator"], sort=False).ms.median().reset_index()
