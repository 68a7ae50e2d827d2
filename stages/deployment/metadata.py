"""What a deployed model says of itself, and the hashes that hold it to its word.

The hashes tell damage and mix-ups, not an author: who changes a model can hash it anew. Against
that stands the record in metrics/deploy.json, which git keeps.
"""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import onnx

from stages.deployment.runtime import FORMAT, FORMAT_KEY, JSON_KEYS


def sha256_of_files(*paths: Path) -> str:
    """SHA-256 of the contents of `paths`, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def sha256_of_value(value: Any) -> str:
    """SHA-256 of a plain value, the same whatever the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def graph_sha256(model: onnx.ModelProto) -> str:
    """SHA-256 of all of `model` but its metadata: operators, weights, inputs, outputs, versions."""
    bare = copy.deepcopy(model)
    del bare.metadata_props[:]
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


def metadata_sha256(model: onnx.ModelProto) -> str:
    """SHA-256 of the metadata of `model`, but for this hash itself."""
    return sha256_of_value(sorted([entry.key, entry.value] for entry in model.metadata_props
                                  if entry.key != "metadata_sha256"))


def describe(model: onnx.ModelProto, values: dict[str, Any]) -> None:
    """Put `values` and the two hashes into the metadata of `model`, and nothing else.

    `values` holds plain values by the keys of stages.deployment.runtime:
        classes: names, in the order of the logits.
        preset: data set, resolution (pixels, side of the square that pictures are brought to
            before they come here), model, image size, normalization and opset.
        accuracy: of the variant, as evaluate measured it.
        calibration: the recipe of the variant, and the pictures that it took its ranges from.
        golden: sizes and logits of the golden pictures.
        *_sha256: of the parameters, the prepared data, the float model and the variant.
    """
    texts = {FORMAT_KEY: FORMAT,
             **{key: json.dumps(value) if key in JSON_KEYS else value
                for key, value in values.items()},
             "graph_sha256": graph_sha256(model)}
    onnx.helper.set_model_props(model, texts)
    model.metadata_props.add(key="metadata_sha256", value=metadata_sha256(model))
