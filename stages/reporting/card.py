"""The model card of models/deploy.onnx, in the layout of the Hugging Face hub."""

from typing import Any

import yaml

from stages.reporting.license import OTHER, WeightsOrigin
from stages.reporting.pages import render
from stages.reporting.tables import result_table

WEAKEST = 3


def model_card(summary: dict[str, Any], facts: dict[str, Any], evaluation: dict[str, Any],
               training: dict[str, Any], system: dict[str, Any], shipped: dict[str, Any],
               origin: WeightsOrigin) -> str:
    """Write the card.

    Args:
        summary, evaluation, training, system: metrics as the stages wrote them; evaluation is that
            of the selected variant.
        facts: what stands in the model's metadata (stages.deployment.metadata).
        shipped: metrics/deploy.json, what was measured of the file itself.
        origin: of the weights that training began with.
    """
    weakest = sorted(evaluation["by_class"].items(), key=lambda item: item[1])[:WEAKEST]
    recipe = facts["calibration"]
    return render("card.md", {
        "front_matter": yaml.safe_dump(_front_matter(facts["preset"], facts["accuracy"],
                                                     origin.license),
                                       sort_keys=False, allow_unicode=True),
        **facts, "training": training, "shipped": shipped, "origin": origin, "weakest": weakest,
        "calibration_told": _calibration(recipe), "cpu_limit": _cpu_limit(recipe),
        "table": result_table(summary, system)})


def _front_matter(preset: dict[str, Any], accuracy: dict[str, Any], license_id: str
                  ) -> dict[str, Any]:
    name = f"{preset['name']}-{preset['data']}-{preset['variant']}"
    return {
        "license": license_id,
        **({"license_name": "see-below"} if license_id == OTHER else {}),
        "library_name": "onnx", "pipeline_tag": "image-classification",
        "tags": ["onnx", "onnxruntime", "image-classification", preset["name"],
                 preset["variant"]],
        "datasets": [preset["data"]], "metrics": ["accuracy"],
        "model-index": [{"name": name, "results": [{
            "task": {"type": "image-classification", "name": "Image classification"},
            "dataset": {"name": preset["data"], "type": preset["data"]},
            "metrics": [{"type": "accuracy", "name": "Test accuracy",
                         "value": round(accuracy["accuracy"], 6)}]}]}]}


def _calibration(recipe: dict[str, Any] | None) -> str:
    if not recipe:
        return "Weights and activations are float32."
    if recipe["method"] == "dynamic":
        return (f"Quantized without calibration: weights {recipe['weight_type']}, ranges of the "
                "activations found at run time.")
    bits = " of 7 bits, whose sums are exact on any CPU" if recipe["reduce_range"] else ""
    return (f"Quantized to INT8 ({recipe['method']}: weights {recipe['weight_type']}{bits}, "
            f"activations {recipe['activation_type']}), calibrated on {recipe['images']:,} "
            f"pictures held out of training{_fine_tuned(recipe['qat'])}.")


def _fine_tuned(qat: dict[str, Any] | None) -> str:
    if not qat:
        return ""
    return f", and fine-tuned for {qat['steps']} steps on pictures of training without their labels"


def _cpu_limit(recipe: dict[str, Any] | None) -> str:
    """None for recipes whose sums fit 16 bits, or that ONNX Runtime adds in 32 on any CPU."""
    if (not recipe or recipe["method"] == "dynamic" or recipe["reduce_range"]
            or recipe["weight_type"] == "QUInt8"):
        return ""
    return ("- On an x86 CPU without VNNI, INT8 products may saturate and accuracy may drop; "
            "verify tells.\n")
