"""How `experiment=cifar10` trains, for programs that train so for a few steps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from benchmarks.lite0 import PUBLISHED
from stages.config.schema import Params

CONF = Path(__file__).resolve().parent.parent / "conf"
RECIPE, DEFAULTS = CONF / "experiment/cifar10.yaml", CONF / "train/finetune.yaml"


def cifar10_params(image_size: int, **changes: Any) -> Params:
    """data, model and train of that experiment, at one size of pictures from the first step.

    Args:
        image_size: in pixels.
        changes: of train, by key.
    """
    train = OmegaConf.merge(OmegaConf.load(DEFAULTS), OmegaConf.load(RECIPE).train,
                            {"start_image_size": image_size, **changes})
    return OmegaConf.merge(OmegaConf.structured(Params), {
        "data": {"horizontal_flip": True}, "model": replace(PUBLISHED, image_size=image_size),
        "train": train})
