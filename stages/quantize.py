"""Stage quantize@<variant>: the float ONNX model as INT8, by the recipe of the variant."""

import argparse
import logging
from pathlib import Path

import numpy as np
import onnx

from stages.config.params import load_params
from stages.config.schema import Model, QatRecipe
from stages.config.stage import run_stage
from stages.data.dataset import Dataset, load_dataset
from stages.files.atomic import replacing, write_json
from stages.measurement.predictor import load_predictor
from stages.onnx_graph.audit import float_nodes
from stages.onnx_graph.census import executed_graph, operator_counts, quantized_and_float
from stages.onnx_graph.export import INPUT
from stages.quantization.calibration import record
from stages.quantization.dynamic import quantize_dynamically
from stages.quantization.mixed import quantize_mixed
from stages.quantization.qat import fine_tune, random_batches
from stages.quantization.recipe import calibration_positions, check_recipe, record_recipe
from stages.quantization.static import quantize_statically

log = logging.getLogger(__name__)

SOURCE = Path("models/onnx_fp32.onnx")


def tune(path: Path, recipe: QatRecipe, model: Model, dataset: Dataset) -> dict[str, float]:
    """Fine-tune the static model at `path`, in place; the loss of its first and last step."""
    graph = onnx.load(path)
    losses = fine_tune(graph, onnx.load(SOURCE), load_predictor(SOURCE, model),
                       random_batches(dataset.images, dataset.splits["train"], recipe), recipe,
                       model)
    onnx.save(graph, path)
    return {"first_loss": losses[0], "last_loss": losses[-1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", help="a key of quantize.variants in params.yaml")
    variant = parser.parse_args().variant
    params = load_params("model", f"quantize.variants.{variant}")
    recipe = params.quantize.variants[variant]
    check_recipe(variant, recipe)
    target = Path(f"models/{variant}.onnx")
    positions, ranges, search, learned = np.array([], dtype=np.int64), {}, {}, {}
    with replacing(target) as partial:
        if recipe.method == "dynamic":
            quantize_dynamically(SOURCE, partial, recipe)
        else:
            dataset = load_dataset()
            positions = calibration_positions(dataset.splits["calibration"], recipe)
            dataset.splits["calibration"] = positions
            if recipe.method == "mixed":
                ranges, search = quantize_mixed(SOURCE, partial, recipe, params.model, dataset,
                                                INPUT)
            else:
                ranges = quantize_statically(SOURCE, partial, recipe, params.model,
                                             dataset.view("calibration"), INPUT)
            if recipe.qat:
                learned = tune(partial, recipe.qat, params.model, dataset)
        record_recipe(partial, recipe)
    write_json(Path(f"metrics/calibration/{variant}.json"),
               record(recipe.calibration, positions, ranges))
    executed = executed_graph(target)
    counts = operator_counts(executed)
    quantized, in_float = quantized_and_float(counts)
    size_mb, source_mb = target.stat().st_size / 1e6, SOURCE.stat().st_size / 1e6
    write_json(Path(f"metrics/quantize/{variant}.json"), {
        "size_mb": size_mb, "size_ratio": size_mb / source_mb, "quantized_nodes": quantized,
        "float_nodes": in_float, "executed_operators": counts, "in_float": float_nodes(executed),
        **({"search": search} if search else {}), **({"qat": learned} if learned else {})})
    log.info("%s: %.2f MB (%.0f %% of FP32), %d nodes run quantized, %d in float", variant,
             size_mb, 100 * size_mb / source_mb, quantized, in_float)


if __name__ == "__main__":
    run_stage(main)
