"""Stage quantize@<variant>: the float ONNX model as INT8, by the recipe of the variant."""

import logging
from pathlib import Path

import onnx

from stages.config.command_line import variant_asked_for
from stages.config.params import load_params
from stages.config.stage import run_stage
from stages.data.dataset import load_dataset
from stages.files.atomic import replacing, write_json
from stages.inference.saturation import warn_if_saturating
from stages.onnx_graph.audit import float_nodes
from stages.onnx_graph.census import executed_graph, operator_counts, quantized_and_float
from stages.onnx_graph.names import FLOAT_FILE
from stages.quantization.calibration import record as calibration_record
from stages.quantization.recipe import recorded_recipe
from stages.quantization.variant import write_variant

log = logging.getLogger(__name__)


def main() -> None:
    variant = variant_asked_for(__doc__, "quantize.variants")
    params = load_params("model", "quantize.max_drop_pp", f"quantize.variants.{variant}")
    recipe = params.quantize.variants[variant]
    target = Path(f"models/{variant}.onnx")
    with replacing(target) as partial:
        record = write_variant(FLOAT_FILE, partial, recipe, params.model, load_dataset(),
                               params.quantize.max_drop_pp)
        executed, recorded = executed_graph(partial), recorded_recipe(onnx.load(partial))
    warn_if_saturating(target, recorded)
    write_json(Path(f"metrics/calibration/{variant}.json"),
               calibration_record(recipe.calibration, record.positions, record.ranges))
    counts = operator_counts(executed)
    quantized, left = quantized_and_float(counts)
    size_mb, source_mb = target.stat().st_size / 1e6, FLOAT_FILE.stat().st_size / 1e6
    told = {"prepared_max_abs_diff": record.prepared_max_abs_diff, "search": record.search,
            "rounding": record.rounding, "qat": record.qat}
    write_json(Path(f"metrics/quantize/{variant}.json"), {
        "size_mb": size_mb, "size_ratio": size_mb / source_mb, "quantized_nodes": quantized,
        "float_nodes": left, "executed_operators": counts, "in_float": float_nodes(executed),
        **{key: value for key, value in told.items() if value not in (None, {})}})
    log.info("%s: %.2f MB (%.0f %% of FP32), %d nodes run quantized, %d in float", variant,
             size_mb, 100 * size_mb / source_mb, quantized, left)


if __name__ == "__main__":
    run_stage(main)
