"""From pictures to class: what a user of models/deploy.onnx waits for, preprocessing included.

    python -m benchmarks.deployed [--rounds 40]

EfficientNet-Lite0 with random weights at 224 pixels, float and INT8, each wrapped as the stage
deploy does it, on uint8 pictures of several sizes; and the INT8 model wrapped as it was before,
with channels last until the end of the preprocessing. Rounds run all in random order. Raw data goes
to docs/deployed.json, by CPU, the table to docs/measuring.md.
"""

import logging
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.arguments import only_count
from benchmarks.int8_layout import FLOAT, SIZE, versions
from benchmarks.raw_data import cpu_and_threads, publish_by_cpu
from benchmarks.rounds import milliseconds, ratio_cell
from benchmarks.untrained import preset_params
from stages.config.errors import UserError
from stages.config.params import load_params
from stages.config.stage import run_stage
from stages.deployment.runtime import LOGITS, PICTURES
from stages.deployment.wrap import PREFIX, wrap
from stages.measurement.session import open_session
from stages.onnx_graph.names import INPUT

log = logging.getLogger(__name__)

RAW, PAGE = Path("docs/deployed.json"), Path("docs/measuring.md")
PRESET = "efficientnet_lite0"
SIDES, BATCHES = (32, 256, 640), (1, 16)
SHIPPED, BEFORE = "int8_static", "int8_static, channels last"


def with_channels_last(model: onnx.ModelProto) -> onnx.ModelProto:
    """The wrapped `model` with its preprocessing as it was written before; `model` is changed."""
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for name in ("shift", "scale"):
        flat = numpy_helper.to_array(stored[PREFIX + name]).flatten()
        stored[PREFIX + name].CopyFrom(numpy_helper.from_array(flat, PREFIX + name))
    before = [
        helper.make_node("Cast", [PICTURES], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Resize", ["float", "", "", PREFIX + "size"], ["resized"], mode="linear",
                         antialias=1, exclude_outside=1, axes=[1, 2],
                         coordinate_transformation_mode="half_pixel"),
        helper.make_node("Sub", ["resized", PREFIX + "shift"], ["shifted"]),
        helper.make_node("Div", ["shifted", PREFIX + "scale"], ["normalized"]),
        helper.make_node("Transpose", ["normalized"], [INPUT], perm=[0, 3, 1, 2])]
    count = next(index for index, node in enumerate(graph.node) if node.output[0] == INPUT) + 1
    nodes = [*before, *graph.node[count:]]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def measure(rounds: int) -> dict[str, Any]:
    """Milliseconds of each round, by the side of the pictures, batch size and model.

    Raises:
        UserError: both ways of preprocessing don't give the same.
    """
    recipe = load_params("quantize.variants.int8_static").quantize.variants.int8_static
    recipe.reduce_range = True  # as benchmarks.int8_layout has it
    params = preset_params(PRESET, {"weights": "none", "image_size": SIZE})
    with TemporaryDirectory() as folder:
        bodies, _ = versions(Path(folder) / "model.onnx", PRESET, "keep", recipe)
    *_, body = bodies.values()
    models = {FLOAT: wrap(bodies[FLOAT], params), SHIPPED: wrap(body, params),
              BEFORE: with_channels_last(wrap(body, params))}
    sessions = {name: open_session(model.SerializeToString()) for name, model in models.items()}
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
    lines = [f"{PRESET} at {SIZE} px, random weights, {record['rounds']} rounds; "
             f"{cpu_and_threads(system)}; onnxruntime {system['packages']['onnxruntime']}.", "",
             "| pictures, px | batch | onnx_fp32, ms | int8_static, ms | times as fast | channels "
             "last, ms | times as fast as that |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for side, batches in record["milliseconds"].items():
        for batch, times in batches.items():
            slow, fast, before = (times[name] for name in (FLOAT, SHIPPED, BEFORE))
            lines.append(f"| {side} | {batch} | {np.median(slow):.2f} | {np.median(fast):.2f} | "
                         f"{ratio_cell(slow, fast)} | {np.median(before):.2f} | "
                         f"{ratio_cell(before, fast)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    rounds = only_count(__doc__, "--rounds", 40)
    logging.getLogger("benchmarks").setLevel(logging.INFO)
    print(publish_by_cpu(RAW, PAGE, "deployed", measure(rounds), told))


if __name__ == "__main__":
    run_stage(main)
