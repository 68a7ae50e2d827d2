"""Stage deploy: the selected variant as one file that takes uint8 pictures and names a class.

Resizing, normalization, softmax and argmax are in the graph; class names, preset, accuracy,
calibration, hashes and golden outputs are in the metadata. The model card beside it says the same.
"""

import logging
from itertools import chain
from pathlib import Path
from typing import Any

import onnx
from omegaconf import OmegaConf

from stages.config.errors import UserError
from stages.config.params import load_params
from stages.config.schema import REFERENCE, Params, Recipe
from stages.config.stage import run_stage
from stages.data.dataset import IMAGES_FILE, SPLITS_FILE, Dataset, load_dataset
from stages.deployment import golden
from stages.deployment.metadata import describe, sha256_of_files, sha256_of_value
from stages.deployment.parity import (
    check_parity,
    check_quantized,
    grey_level_difference,
    prediction_difference,
    predictions_of,
)
from stages.deployment.runtime import HASH_KEYS, open_deployed
from stages.deployment.wrap import ADDED_FLOAT_NODES, wrap
from stages.files.atomic import replacing, write_json
from stages.files.reading import read_csv, read_json
from stages.inference.predictor import check_finite, in_batches
from stages.inference.saturation import warn_if_saturating
from stages.inference.session import open_session
from stages.onnx_graph.census import executed_graph, operator_counts, quantized_and_float
from stages.onnx_graph.opset import standard_opset
from stages.quantization.recipe import calibration_positions, recorded_recipe
from stages.reporting.card import model_card
from stages.reporting.license import weights_origin

log = logging.getLogger(__name__)

METRICS = Path("metrics")
MODEL_FILE = Path("models/deploy.onnx")
CARD_FILE = Path("models/README.md")
METRICS_FILE = METRICS / "deploy.json"
ACCURACY = ("images", "accuracy", "accuracy_ci95_low", "accuracy_ci95_high", "validation_images",
            "validation_accuracy")


def facts(params: Params, variant: str, evaluation: dict[str, Any],
          recipe: dict[str, Any] | None, dataset: Dataset, opset: int) -> dict[str, Any]:
    """What goes into the metadata; no time, place or machine.

    Args:
        evaluation: of the variant, as evaluate wrote it.
        recipe: that the variant was made by, None of a float one.
    """
    plain = OmegaConf.to_container(params)
    made_by = {key: plain[key] for key in ("data", "model", "train", "export")}
    return {
        "classes": dataset.classes,
        "preset": {"data": dataset.name, "resolution": params.data.resolution, "variant": variant,
                   "opset": opset, **{key: plain["model"][key] for key in (
                       "library", "name", "image_size", "mean", "std")}},
        "accuracy": {key: evaluation[key] for key in ACCURACY},
        "calibration": recipe and {**recipe, **calibrated_on(params.quantize.variants[variant],
                                                             dataset)},
        "parameters_sha256": sha256_of_value(
            {**made_by, "recipe": plain["quantize"]["variants"].get(variant)}),
        "data_sha256": sha256_of_files(IMAGES_FILE, SPLITS_FILE),
        "fp32_sha256": sha256_of_files(Path(params.variants[REFERENCE])),
        "variant_sha256": sha256_of_files(Path(params.variants[variant]))}


def calibrated_on(recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    """How many pictures `recipe` calibrates on, and which; dynamic quantization takes none."""
    if recipe.method == "dynamic":
        return {"images": 0}
    positions = calibration_positions(dataset.splits["calibration"], recipe).tolist()
    return {"images": len(positions), "positions_sha256": sha256_of_value(positions)}


def executed_nodes(path: Path) -> tuple[int, int]:
    """(quantized, float) numbers of compute nodes that ONNX Runtime runs for the model."""
    return quantized_and_float(operator_counts(executed_graph(path)))


def main() -> None:
    params = load_params("data", "model", "train", "export", "quantize.variants", "variants")
    summary = read_json(METRICS / "summary.json")
    variant = summary["selected"]["variant"]
    if variant not in params.variants:
        raise UserError(f"metrics/summary.json: selects {variant}, which params.yaml has not; run "
                        "'dvc repro report'")
    source = Path(params.variants[variant])
    body_nodes = executed_nodes(source)
    body = onnx.load(source)
    recipe = recorded_recipe(body)
    if recipe and variant not in params.quantize.variants:
        raise UserError(f"variants.{variant}: {source} was made by a recipe, but quantize.variants "
                        f"has no {variant}; name it there")
    dataset = load_dataset()
    model = wrap(body, params.model)
    sizes = golden.golden_sizes(params.data.resolution, params.model.image_size)
    grey_levels = grey_level_difference(
        chain(golden.golden_pictures(sizes), in_batches(dataset.view("test"))), params.model)
    logits = golden.replay(open_session(model.SerializeToString()), sizes)
    check_finite(logits, source)
    evaluation, training, system = (read_json(METRICS / name) for name in (
        f"evaluate/{variant}.json", "training/metrics.json", "system.json"))
    predictions = read_csv(Path(f"data/predictions/{variant}.csv"))
    values = {**facts(params, variant, evaluation, recipe, dataset, standard_opset(model)),
              "golden": golden.record(logits, sizes, quantized=body_nodes[0] > 0)}
    describe(model, values)
    with replacing(MODEL_FILE) as partial:
        onnx.save(model, partial)
        nodes = executed_nodes(partial)
        check_quantized(body_nodes, nodes, ADDED_FLOAT_NODES)
        deployed = open_deployed(partial)
        parity = {split: prediction_difference(
            deployed, dataset.view(split),
            predictions_of(predictions, split, dataset.splits[split]))
            for split in ("validation", "test")}
        check_parity(grey_levels, max(params.data.resolution, params.model.image_size), parity)
    warn_if_saturating(MODEL_FILE, recipe)
    shipped = {"variant": variant, "size_mb": MODEL_FILE.stat().st_size / 1e6,
               "quantized_nodes": nodes[0], "float_nodes": nodes[1],
               "preprocessing_max_grey_levels": grey_levels, "parity": parity,
               **{key: deployed.metadata[key] for key in HASH_KEYS}}
    write_json(METRICS_FILE, shipped)
    card = model_card(summary, values, evaluation, training, system, shipped,
                      weights_origin(params.model))
    with replacing(CARD_FILE) as partial:
        partial.write_text(card, encoding="utf-8")
    log.info("%s as %s: %.2f MB; %s", variant, MODEL_FILE, shipped["size_mb"], "; ".join(
        f"{found['class_agreement']:.2%} of {found['images']} {split} pictures as evaluate has them"
        for split, found in parity.items()))


if __name__ == "__main__":
    run_stage(main, __doc__)
