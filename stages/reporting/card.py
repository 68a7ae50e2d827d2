"""The model card of models/deploy.onnx, in the layout of the Hugging Face hub."""

from typing import Any

import yaml

from stages.reporting.license import OTHER, WeightsOrigin
from stages.reporting.tables import cell, result_table

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
    preset, accuracy, classes = facts["preset"], facts["accuracy"], facts["classes"]
    names = ", ".join(map(cell, classes))
    weakest = sorted(evaluation["by_class"].items(), key=lambda item: item[1])[:WEAKEST]
    side, size = preset["resolution"], preset["image_size"]
    front = _front_matter(preset, accuracy, origin.license)
    return f"""---
{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---

# {preset['name']} for {preset['data']}

Classifies a picture into one of {len(classes)} classes: {names}. One ONNX file of
{shipped['size_mb']:.2f} MB: variant {preset['variant']}, opset {preset['opset']}.
It takes uint8 pictures of any size; resizing and normalization are in the graph.

## Intended use

Pictures like those of {preset['data']}, one subject each, and measuring what INT8 costs on a CPU.
It always names one of its classes, also for a picture that shows none of them. It is not meant for
decisions about people.

## How to use

In a clone of this repository:

```
pip install onnxruntime numpy pillow
python -m stages.predict PICTURE...
```

Or without its code: RGB pictures, cut to a square and scaled to {side} by {side} pixels as the
pictures of training were. In a container, pass options whose `intra_op_num_threads` is its share of
the CPU's cores, which ONNX Runtime does not see. (`stages.predict` also lays transparency over
white, and takes the upper 8 bits of 16-bit grey.)

```python
import json
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("deploy.onnx")
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
picture = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("RGB")
picture = ImageOps.fit(picture, ({side}, {side}), Image.Resampling.BILINEAR)
logits, probabilities, index = session.run(None, {{"pictures": np.asarray(picture)[None]}})
print(classes[index[0]], probabilities[0, index[0]])
```

| | name | type | shape |
| --- | --- | --- | --- |
| input | pictures | uint8 | batch, height, width, 3 |
| output | logits | float32 | batch, {len(classes)} |
| output | probabilities | float32 | batch, {len(classes)} |
| output | class_index | int64 | batch |

`python -m stages.verify deploy.onnx` checks that a copy is whole and gives the right answers on
your CPU.

## Training

{preset['name']} from {preset['library']}, {training['parameters']:,} parameters, on
{preset['data']} pictures of {side} pixels, scaled to {size} in the model; the best of
{training['epochs']} epochs on validation was epoch {training['best']['epoch']}.
{_calibration(facts['calibration'])}

## Results

On {accuracy['images']:,} test pictures, which had no part in any choice:
{100 * accuracy['accuracy']:.2f} % right (95 %: {100 * accuracy['accuracy_ci95_low']:.2f} to
{100 * accuracy['accuracy_ci95_high']:.2f} %).
The file itself, with resizing and normalization in it, has
{100 * shipped['parity']['test']['accuracy']:.2f} %.
Weakest classes: {', '.join(f'{cell(name)} ({100 * share:.2f} %)' for name, share in weakest)}.

{result_table(summary, system)}
The model's file is somewhat larger than its variant's: it carries its preprocessing and facts.

## Limits

- Accuracy holds for pictures like those of the data set, at {side} pixels and upright. Nothing was
  measured on others, nor on noise, blur or attacks.
- Probabilities are those of a softmax; they were not calibrated.
{_cpu_limit(facts['calibration'])}- Timings are those of the machine named above.

## License

{origin.told} The code that trained and quantized
them is under MIT. The pictures of {preset['data']} have terms of their own.
"""


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
    return (f"Quantized to INT8 ({recipe['method']}: weights {recipe['weight_type']}, activations "
            f"{recipe['activation_type']}), calibrated on {recipe['images']:,} pictures held out "
            f"of training{_fine_tuned(recipe['qat'])}.")


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
