"""A trained model on disk: its weights and what is needed to build and feed it again."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn

from stages.config.errors import UserError
from stages.config.schema import Model
from stages.files.atomic import replacing
from stages.model.build import build_model
from stages.model.weights import LOAD_ERRORS

CHECKPOINT_FILE = Path("models/checkpoint.pt")


@dataclass
class Checkpoint:
    """Weights, class names and the parameters of the model that they are for."""

    model: dict[str, Any]
    classes: list[str]
    state_dict: dict[str, torch.Tensor]


def save_torch(path: Path, content: Any) -> None:
    """Write `content` with torch.save; the same content gives the same bytes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with replacing(path) as partial:
        partial.write_bytes(buffer.getbuffer())


def save_checkpoint(path: Path, model: nn.Module, params: Model, classes: list[str]) -> None:
    """Write `model` as a checkpoint."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_torch(path, vars(Checkpoint(OmegaConf.to_container(params), classes, state)))


def load_checkpoint(path: Path, params: Model, classes: list[str] | None = None
                    ) -> tuple[nn.Module, list[str]]:
    """Build the checkpoint's model, in evaluation mode, and give it with its class names.

    Nothing but tensors and plain containers is unpickled, so a tampered file runs no code.

    Args:
        classes: of the data that it is to be for; None takes any.

    Raises:
        UserError: missing or damaged file, or one that was trained with another model section or
            on other classes.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; run 'dvc repro train'")
    try:
        checkpoint = Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
        if [type(value) for value in vars(checkpoint).values()] != [dict, list, dict]:
            raise TypeError
    except LOAD_ERRORS as error:
        raise UserError(f"{path}: damaged or no checkpoint of this project "
                        f"({type(error).__name__}); run 'dvc repro train'") from None
    for key, value in OmegaConf.to_container(params).items():
        if checkpoint.model.get(key) != value:
            raise UserError(f"{path}: was trained with model.{key}={checkpoint.model.get(key)}, "
                            f"params.yaml says {value}; run 'dvc repro train'")
    if classes is not None and checkpoint.classes != classes:
        raise UserError(f"{path}: was trained on the classes {_shortly(checkpoint.classes)}, the "
                        f"data has {_shortly(classes)}; run 'dvc repro train'")
    model = build_model(params, len(checkpoint.classes), pretrained=False)
    try:
        model.load_state_dict(checkpoint.state_dict)
    except RuntimeError:
        raise UserError(f"{path}: its tensors don't fit {params.name} with "
                        f"{len(checkpoint.classes)} classes; run 'dvc repro train'") from None
    return model.eval(), checkpoint.classes


def _shortly(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
