"""The model that is compared: the experiment's own, or a fresh one that is good for its speed."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.presets import preset_params
from benchmarks.untrained import export_untrained
from stages.config.params import load_params
from stages.config.schema import REFERENCE, Model
from stages.data.dataset import Dataset
from stages.quantization.source import load_float_model
from stages.quantization.variant import write_variant

OURS = ("int8_static", "int8_mixed")
# Pictures by which the batch norms of random weights are set.
STATISTICS = 32


@dataclass(frozen=True)
class Subject:
    """What is compared.

    models: files of REFERENCE and of those of OURS that there are.
    trained: whether its accuracy means anything.
    """

    params: Model
    models: dict[str, Path]
    trained: bool


def own_experiment() -> Subject:
    """The models that `dvc repro` left.

    Raises:
        UserError: the float model is not there, or can't be quantized.
    """
    params = load_params("model", "variants")
    models = {name: Path(params.variants[name]) for name in (REFERENCE, *OURS)
              if name in params.variants}
    load_float_model(models[REFERENCE])
    return Subject(params.model, models, trained=True)


def fresh_model(preset: str, changes: dict[str, object], dataset: Dataset, folder: Path) -> Subject:
    """A model of conf/model that was not trained on `dataset`, exported and quantized in `folder`.

    Args:
        changes: keys of the preset to set otherwise.

    Raises:
        UserError: a value out of range, weights that can't be had.
    """
    params = preset_params(preset, **changes)
    models = {name: folder / f"{name}.onnx" for name in (REFERENCE, "int8_static")}
    recipe = load_params("quantize.variants.int8_static").quantize.variants.int8_static
    pictures = dataset.view("calibration")
    export_untrained(params, pictures[:STATISTICS], dataset.classes, models[REFERENCE])
    write_variant(models[REFERENCE], models["int8_static"], recipe, params, dataset, 100.0)
    return Subject(params, models, trained=False)
