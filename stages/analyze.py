"""Stage analyze: why dynamic quantization loses the accuracy, factor by factor, layer by layer."""

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pandas as pd

from stages.config.params import load_params
from stages.config.schema import Model
from stages.config.stage import run_stage
from stages.data.dataset import Dataset, PictureView, evenly, load_dataset
from stages.files.atomic import write_csv, write_json
from stages.measurement.noise import signal_to_noise_db
from stages.measurement.predictor import in_batches, load_onnx, model_input, predict
from stages.measurement.saturation import EXACT_SUMS, products_saturate
from stages.onnx_graph.layers import COUNTED, weighted_layers, weights_of
from stages.onnx_graph.names import FLOAT_FILE
from stages.quantization.ablation import BASE_RECIPE, Cell, write_cell
from stages.quantization.layer_error import output_snr_db
from stages.quantization.rounding import channel_spread, round_weights, with_rounded_weights
from stages.quantization.source import load_float_model
from stages.quantization.static import Calibrated

log = logging.getLogger(__name__)

BATCH, BATCHES = 32, 4
# Dynamic models run some tens of pictures a second, and a collapse shows on a thousand.
MAX_PICTURES = 1000
RECIPES = {
    "float": Cell("float", "float"),
    "weights per channel, activations float": Cell("per channel", "float"),
    "weights per tensor, activations float": Cell("per tensor", "float"),
    "weights float, activations static": Cell("float", "static"),
    "weights per channel, activations static": Cell("per channel", "static"),
    "weights per tensor, activations static": Cell("per tensor", "static"),
    "weights per tensor QInt8, activations dynamic": Cell("per tensor", "dynamic", shipped=True),
    "weights per tensor QUInt8, activations dynamic": Cell("per tensor", "dynamic", "QUInt8",
                                                           shipped=True),
}
# This CPU's own part, where it cuts off sums of integers; the recipes are computed without that.
PER_CHANNEL = "weights per channel, activations static"
CUT_OFF = "weights per channel, static, sums cut off"


def layer_table(model: onnx.ModelProto, dataset: Dataset, params: Model) -> pd.DataFrame:
    """Each layer's spread of channels, and the error of its weights and of its output, in dB."""
    pictures = PictureView(dataset.images,
                           evenly(dataset.splits["calibration"], BATCH * BATCHES))
    batches = [model_input(batch, params) for batch in in_batches(pictures, BATCH)]
    weights = weights_of(model)
    table = pd.DataFrame([{"layer": name, "channel_spread": channel_spread(weights[name])}
                          for _, name in weighted_layers(model)])
    for per_channel, label in ((False, "per_tensor"), (True, "per_channel")):
        table[f"weight_snr_db_{label}"] = [
            signal_to_noise_db(weights[name], round_weights(weights[name],
                                                            per_channel=per_channel))
            for name in table.layer]
        table[f"output_snr_db_{label}"] = output_snr_db(
            model, with_rounded_weights(model, per_channel=per_channel), batches)
    return table.rename_axis("position").reset_index()


def layers_left_out(model: onnx.ModelProto) -> dict[str, int]:
    """The number of layers that rows of one factor leave out: MatMul, and a Gemm without transB.

    Empty where there are none.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    left = sum(node.op_type in COUNTED and node.input[1] in constants
               for node in model.graph.node) - len(weighted_layers(model))
    if left:
        log.warning("%d layers (MatMul, or Gemm without transB) are not taken apart: see "
                    "docs/report.md", left)
    return {"layers_left_out": left} if left else {}


def main() -> None:
    params = load_params("model").model
    model, dataset = load_float_model(FLOAT_FILE), load_dataset()
    positions = evenly(dataset.splits["validation"], MAX_PICTURES)
    labels, pictures = dataset.labels[positions], PictureView(dataset.images, positions)
    cuts_off = products_saturate()
    exact = EXACT_SUMS if cuts_off else {}
    cells = {name: (cell, exact) for name, cell in RECIPES.items()}
    if cuts_off:
        cells[CUT_OFF] = RECIPES[PER_CHANNEL], {}
    accuracies = {}
    base = Calibrated.of(FLOAT_FILE, BASE_RECIPE, params, dataset.view("calibration"))
    with tempfile.TemporaryDirectory() as folder:
        for name, (cell, session) in cells.items():
            path = Path(folder) / "cell.onnx"
            write_cell(cell, base, path)
            predicted = predict(load_onnx(path, **session), pictures, params).argmax(axis=1)
            accuracies[name] = float(np.mean(predicted == labels))
            log.info("%s: validation accuracy %.4f", name, accuracies[name])
    table = layer_table(model, dataset, params)
    write_json(Path("metrics/analysis.json"), {
        "validation_images": len(labels), "accuracy": accuracies, **layers_left_out(model),
        "widest_channel_spread": float(table.channel_spread.max()),
        "last_layer_snr_db": {label: float(table[f"output_snr_db_{label}"].iloc[-1])
                              for label in ("per_tensor", "per_channel")}})
    write_csv(Path("plots/layer_error.csv"), table.round(3))


if __name__ == "__main__":
    run_stage(main, __doc__)
