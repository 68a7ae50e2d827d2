"""What padding the input and repeating gates gain: the same INT8 model, written each way.

    python -m benchmarks.int8_layout [--rounds 80]

Models of conf/model with random weights, at 224 pixels, quantized as int8_static is before what is
learned, with weights of 7 bits, so that all give the same logits on any CPU; their speed does not
depend on their weights. Rounds run all ways of a model in random order. Raw data goes to
docs/int8_layout.json, by CPU, the tables to docs/precision.md.
"""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx

from benchmarks.arguments import only_count
from benchmarks.markdown import markdown_table
from benchmarks.presets import preset_params
from benchmarks.raw_data import cpu_and_threads, publish_by_cpu
from benchmarks.rounds import model_milliseconds, ratio_cell
from benchmarks.untrained import export_untrained
from stages.config.errors import UserError
from stages.config.params import load_params
from stages.config.schema import REFERENCE
from stages.config.stage import run_stage
from stages.inference.predictor import model_input
from stages.inference.session import open_session, predictor_of
from stages.quantization.padded_input import with_padded_input
from stages.quantization.repeated_gates import with_repeated_gates
from stages.quantization.static import Calibrated

log = logging.getLogger(__name__)

RAW, PAGE = Path("docs/int8_layout.json"), Path("docs/precision.md")
SIZE, PICTURES = 224, 32
BATCHES = (1, 16)
# (preset, activation)
MODELS = (("efficientnet_lite0", "keep"), ("efficientnet_b0", "keep"), ("efficientnet_b3", "keep"),
          ("efficientnet_b3", "relu6"))
PLAIN, PADDED, REPEATED = "as quantized", "input padded", "input padded, gates repeated"


def versions(source: Path, preset: str, activation: str
             ) -> tuple[dict[str, onnx.ModelProto], np.ndarray]:
    """The float model and every way of writing its INT8 model; and pictures to time, (n, 3, S, S).

    REPEATED is left out of a model that has no gates.

    Args:
        source: where to write the float model.

    Raises:
        UserError: a way gives other logits than the first.
    """
    recipe = load_params("quantize.variants.int8_static").quantize.variants.int8_static
    recipe.reduce_range = True  # sums that are whole on any CPU, to compare logits
    params = preset_params(preset, weights="none", image_size=SIZE, activation=activation)
    pictures = np.random.default_rng(0).integers(0, 256, (PICTURES, 32, 32, 3), np.uint8)
    classes = [str(number) for number in range(10)]
    export_untrained(params, pictures, classes, source)
    target = source.with_name("int8.onnx")
    Calibrated.of(source, recipe, params, pictures).write(target)
    plain = onnx.load(target)
    padded = with_padded_input(plain)
    ways = {PLAIN: plain, PADDED: padded}
    if (repeated := with_repeated_gates(padded)) != padded:
        ways[REPEATED] = repeated
    inputs = model_input(pictures, params)
    first, *others = (predictor_of(open_session(model.SerializeToString()))(inputs)
                      for model in ways.values())
    if not all(np.array_equal(first, each) for each in others):
        raise UserError(f"{preset}: the logits differ, and should not")
    return {REFERENCE: onnx.load(source), **ways}, inputs


def measure(preset: str, activation: str, rounds: int) -> dict[str, Any]:
    """Milliseconds of each round, by batch size and way."""
    with TemporaryDirectory() as folder:
        models, inputs = versions(Path(folder) / "model.onnx", preset, activation)
    predictors = {way: predictor_of(open_session(model.SerializeToString()))
                  for way, model in models.items()}
    result = {"model": preset, "activation": activation, "milliseconds": {}}
    for batch in BATCHES:
        times = model_milliseconds(predictors, inputs, batch, rounds)
        result["milliseconds"][str(batch)] = times
        log.info("%s, %s, batch %d: %s", preset, activation, batch, ", ".join(
            f"{way} {np.median(series):.2f} ms" for way, series in times.items()))
    return result


def told(run: dict[str, Any]) -> str:
    """What was measured on what, and the table."""
    system = run["system"]
    rows = []
    for result in run["models"]:
        name = result["model"] + (
            "" if result["activation"] == "keep" else f" with {result['activation']}")
        for batch, ways in result["milliseconds"].items():
            for way, times in ways.items():
                rows.append((name, batch, way, f"{np.median(times):.2f}",
                             *(ratio_cell(ways[base], times) for base in (PLAIN, REFERENCE))))
    table = markdown_table(("model", "batch", "written", "ms, median", "against as quantized",
                            "against onnx_fp32"), rows)
    return (f"Random weights, {SIZE} px, {run['rounds']} rounds; {cpu_and_threads(system)}; "
            f"onnxruntime {system['packages']['onnxruntime']}.\n\n{table}")


def main() -> None:
    rounds = only_count(__doc__, "--rounds", 80)
    print(publish_by_cpu(RAW, PAGE, "layout", lambda: {"rounds": rounds, "models": [
        measure(preset, activation, rounds) for preset, activation in MODELS]}, told))


if __name__ == "__main__":
    run_stage(main)
