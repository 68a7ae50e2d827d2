"""From pictures to class: what a user of models/deploy.onnx waits for, preprocessing included.

    python -m benchmarks.deployed [--rounds 40]

EfficientNet-Lite0 with random weights at 224 pixels, float and INT8, each wrapped as the stage
deploy does it, on uint8 pictures of several sizes; and the INT8 model with pictures normalized
pixel by pixel, as it was wrapped before. Rounds run all in random order. Raw data goes to
docs/deployed.json, by CPU, the table to docs/measuring.md.
"""

import logging
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.arguments import only_count
from benchmarks.int8_layout import PADDED, SIZE, versions
from benchmarks.markdown import markdown_table
from benchmarks.presets import LITE0, preset_params
from benchmarks.raw_data import cpu_and_threads, publish_by_cpu
from benchmarks.rounds import milliseconds, ratio_cell
from stages.config.errors import UserError
from stages.config.schema import REFERENCE
from stages.config.stage import run_stage
from stages.deployment.runtime import LOGITS, PICTURES
from stages.deployment.wrap import PREFIX, wrap
from stages.inference.session import open_session

log = logging.getLogger(__name__)

RAW, PAGE = Path("docs/deployed.json"), Path("docs/measuring.md")
SIDES, BATCHES = (32, 256, 640), (1, 16)
SHIPPED, BEFORE = "int8_static", "int8_static, by pixel"


def by_pixel(model: onnx.ModelProto) -> onnx.ModelProto:
    """The wrapped `model` with its pictures normalized pixel by pixel; `model` is changed."""
    graph = model.graph
    for tensor in graph.initializer:
        if tensor.name in (PREFIX + "shift", PREFIX + "scale"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:3], tensor.name))
    for node in [node for node in graph.node if node.output[0] in (PREFIX + "whole",
                                                                   PREFIX + "last")]:
        for reader in graph.node:
            reader.input[:] = [node.input[0] if name == node.output[0] else name
                               for name in reader.input]
        graph.node.remove(node)
    return model


def measure(rounds: int) -> dict[str, Any]:
    """Milliseconds of each round, by the side of the pictures, batch size and model.

    Raises:
        UserError: both ways of preprocessing don't give the same.
    """
    params = preset_params(LITE0, weights="none", image_size=SIZE)
    with TemporaryDirectory() as folder:
        bodies, _ = versions(Path(folder) / "model.onnx", LITE0, "keep")
    models = {REFERENCE: wrap(bodies[REFERENCE], params), SHIPPED: wrap(bodies[PADDED], params),
              BEFORE: by_pixel(wrap(bodies[PADDED], params))}
    sessions = {name: open_session(model.SerializeToString())
                for name, model in models.items()}
    found: dict[str, Any] = {}
    for side in SIDES:
        for batch in BATCHES:
            pictures = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)
            runs = {name: partial(_run, session, pictures) for name, session in sessions.items()}
            if not np.array_equal(runs[SHIPPED](0), runs[BEFORE](0)):
                raise UserError(f"pictures of {side} px: the logits differ, and should not")
            times = milliseconds(runs, rounds)
            found.setdefault(str(side), {})[str(batch)] = times
            log.info("%d px, batch %d: %s", side, batch, ", ".join(
                f"{name} {np.median(series):.2f} ms" for name, series in times.items()))
    return {"rounds": rounds, "milliseconds": found}


def _run(session: Any, pictures: np.ndarray, index: int) -> np.ndarray:
    return session.run([LOGITS], {PICTURES: pictures})[0]


def told(record: dict[str, Any]) -> str:
    """What was measured on what, and the table."""
    system = record["system"]
    rows = []
    for side, batches in record["milliseconds"].items():
        for batch, times in batches.items():
            slow, fast, before = (times[name] for name in (REFERENCE, SHIPPED, BEFORE))
            rows.append((side, batch, f"{np.median(slow):.2f}", f"{np.median(fast):.2f}",
                         ratio_cell(slow, fast), f"{np.median(before):.2f}",
                         ratio_cell(before, fast)))
    table = markdown_table(("pictures, px", "batch", "onnx_fp32, ms", "int8_static, ms",
                            "times as fast", "by pixel, ms", "times as fast as that"), rows)
    return (f"{LITE0} at {SIZE} px, random weights, {record['rounds']} rounds; "
            f"{cpu_and_threads(system)}; onnxruntime {system['packages']['onnxruntime']}.\n\n"
            f"{table}")


def main() -> None:
    rounds = only_count(__doc__, "--rounds", 40)
    print(publish_by_cpu(RAW, PAGE, "deployed", lambda: measure(rounds), told))


if __name__ == "__main__":
    run_stage(main)
