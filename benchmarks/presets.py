"""Models and the recipe of conf/, for programs that build and train without DVC."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import OmegaConf

from stages.config.compose import compose
from stages.config.params import load_params
from stages.config.schema import Model, Params

CONF = Path(__file__).resolve().parent.parent / "conf"  # some programs run in another folder
MODELS = CONF / "model"
LITE0 = "efficientnet_lite0"  # with the weights that were published for ImageNet


def preset_params(preset: str, **changes: Any) -> Model:
    """The model `preset` of conf/model with some of its keys set otherwise.

    Raises:
        UserError: a value out of range.
    """
    with TemporaryDirectory() as folder:
        chosen = Path(folder) / "params.yaml"
        OmegaConf.save({"model": OmegaConf.merge(OmegaConf.load(MODELS / f"{preset}.yaml"),
                                                 changes)}, chosen)
        return load_params("model", path=chosen).model


def cifar10_params(image_size: int, **changes: Any) -> Params:
    """data, model and train of `experiment=cifar10`, at one size of pictures from the first step.

    Args:
        image_size: in pixels.
        changes: of train, by key.

    Raises:
        UserError: a value out of range.
    """
    with TemporaryDirectory() as folder:
        composed = Path(folder) / "params.yaml"
        compose(CONF, composed, [
            "experiment=cifar10", f"model.image_size={image_size}",
            f"train.start_image_size={image_size}",
            *(f"train.{key}={value}" for key, value in changes.items())])
        return load_params("data", "model", "train", path=composed)
