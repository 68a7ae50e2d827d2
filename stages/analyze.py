"""Stage analyze: why dynamic quantization loses the accuracy, factor by factor, layer by layer."""

import logging
import tempfile
from pathlib import Path

import numpy as np

from stages.analysis.ablation import BASE_RECIPE, Cell, write_cell
from stages.analysis.layer_error import layer_table, layers_left_out
from stages.config.params import load_params
from stages.config.stage import run_stage
from stages.data.dataset import load_dataset
from stages.files.atomic import write_csv, write_json
from stages.inference.predictor import load_onnx, predict
from stages.inference.saturation import exact_session
from stages.onnx_graph.names import FLOAT_FILE
from stages.quantization.source import load_float_model
from stages.quantization.static import Calibrated

log = logging.getLogger(__name__)

# Dynamic models run some tens of pictures a second, and a collapse shows on a thousand.
MAX_PICTURES = 1000
CELLS = {
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
# This CPU's own part, where it cuts off sums of integers; the recipes, but for dynamic ones, are
# computed without that.
PER_CHANNEL = "weights per channel, activations static"
CUT_OFF = "weights per channel, static, sums cut off"


def main() -> None:
    params = load_params("model").model
    model, dataset = load_float_model(FLOAT_FILE), load_dataset()
    pictures = dataset.some("validation", MAX_PICTURES)
    labels = dataset.labels[pictures.positions]
    exact = exact_session()
    cells = {name: (cell, exact) for name, cell in CELLS.items()}
    if exact:
        cells[CUT_OFF] = CELLS[PER_CHANNEL], {}
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
