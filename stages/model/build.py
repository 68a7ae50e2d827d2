"""Building a classifier of torchvision or timm by name."""

import copy
import difflib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import httpx2
import timm
import torch
import torchvision
from safetensors import SafetensorError
from torch import nn

from stages.config.errors import UserError
from stages.config.schema import Model
from stages.model.activation import swap_activations
from stages.model.weights import (
    LOAD_ERRORS,
    load_backbone,
    packaged_state,
    packaged_weights,
    read_state_dict,
)

log = logging.getLogger(__name__)

# What the libraries' HTTP clients and file readers raise.
FETCH_ERRORS = (*LOAD_ERRORS, HTTPException, httpx2.HTTPError, SafetensorError)
TENSORS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
OPTIONS = "set model.weights to 'none' or to the path of a state dict"


def build_model(params: Model, num_classes: int, *, pretrained: bool = True) -> nn.Module:
    """Build `params.name` with a head for `num_classes` and the activation that is asked for.

    Args:
        pretrained: False leaves the weights random, for a model whose state is loaded next.

    Returns:
        A module from float32 (B, 3, S, S) to logits (B, num_classes).

    Raises:
        UserError: unknown name, or weights that can't be had.
    """
    model = _create(params, num_classes)
    swap_activations(model, params.activation)
    if not pretrained or params.weights == "none":
        return model
    if params.weights != "imagenet":
        load_backbone(model, read_state_dict(Path(params.weights)), params.weights)
        return model
    _warn_of_other_normalization(params)
    if packaged := packaged_weights(params.library, params.name):
        state = packaged_state(packaged, timm.create_model(params.name))
    else:
        state = _hub_state(params)
    load_backbone(model, state, f"{params.name} (ImageNet)")
    return model


def _known_names(library: str) -> list[str]:
    """The classifiers of a library; timm's also by the tag of their weights, as in name.tag."""
    if library == "timm":
        return [*timm.list_models(), *timm.list_pretrained()]
    return torchvision.models.list_models(module=torchvision.models)


def _warn_of_other_normalization(params: Model) -> None:
    """ImageNet weights see other colours than those they learned where mean or std are others."""
    learned = (timm.models.get_pretrained_cfg(params.name) if params.library == "timm"
               else torchvision.models.get_model_weights(params.name).DEFAULT.transforms())
    for key in ("mean", "std"):
        if (expected := [*getattr(learned, key)]) != [*getattr(params, key)]:
            log.warning("model.%s: the ImageNet weights of %s were trained with %s", key,
                        params.name, expected)


def _create(params: Model, num_classes: int) -> nn.Module:
    known = _known_names(params.library)
    if params.name not in known:
        near = difflib.get_close_matches(params.name, known, n=1)
        raise UserError(f"model.name: {params.library} has no classifier '{params.name}'"
                        f"{f'; did you mean {near[0]!r}?' if near else ''}")
    options = size_options(params)
    try:
        if params.library == "timm":
            return timm.create_model(params.name, num_classes=num_classes, **options)
        return torchvision.models.get_model(params.name, weights=None, num_classes=num_classes,
                                            **options)
    except (AssertionError, TypeError, ValueError) as error:
        if not options:
            raise
        raise UserError(f"model.image_size: {params.name} can't be built for {params.image_size} "
                        f"pixels ({error})") from None


def size_options(params: Model) -> dict[str, int]:
    """How a model that takes pictures of one size alone is told which; empty for any other.

    Transformers are such models: they have a position for each patch of the picture.
    """
    if params.library == "timm":
        config = (timm.models.get_pretrained_cfg(params.name)
                  if params.name in _known_names("timm") else None)
        return {"img_size": params.image_size} if config and config.fixed_input_size else {}
    return {"image_size": params.image_size} if params.name.startswith("vit_") else {}


def check_sizes(model: nn.Module, params: Model, num_classes: int, *sizes: int) -> None:
    """Hold `model`, which is left as it was, to logits of pictures of `sizes` pixels, as trained.

    Raises:
        UserError: it can't take such pictures, or does not give logits (B, num_classes).
    """
    trial = copy.deepcopy(model).train()
    for size in sizes:
        try:
            with torch.no_grad():
                logits = trial(torch.zeros(2, 3, size, size))
        except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"model.name: {params.name} can't be trained on pictures of {size} "
                            f"pixels ({reason})") from None
        if not isinstance(logits, torch.Tensor) or logits.shape != (2, num_classes):
            raise UserError(f"model.name: {params.name} does not give one tensor of logits in "
                            "training; choose a classifier that does")


def _hub_state(params: Model) -> dict[str, torch.Tensor]:
    """Fetch ImageNet weights from the model library's hub, through the library's own cache.

    Nothing but tensors and plain containers is unpickled, so a tampered file runs no code.
    """
    if params.library == "timm" and not timm.models.get_pretrained_cfg(params.name).has_weights:
        raise UserError(f"model.weights: timm publishes none of {params.name}; {OPTIONS}")
    try:
        if params.library == "timm":
            return timm.create_model(params.name, pretrained=True,
                                     **size_options(params)).state_dict()
        with _tensors_only():
            return torchvision.models.get_model(params.name, weights="DEFAULT").state_dict()
    except FETCH_ERRORS as error:
        raise UserError(f"model.weights: ImageNet weights of {params.library}'s {params.name} "
                        f"can't be fetched ({type(error).__name__}); check the network, or "
                        f"{OPTIONS}") from None


@contextmanager
def _tensors_only() -> Iterator[None]:
    """torch.load refuses code, also where a library asks it to run any, as torch's hub does."""
    before = os.environ.get(TENSORS_ONLY, "")
    os.environ[TENSORS_ONLY] = "1"
    try:
        yield
    finally:
        os.environ[TENSORS_ONLY] = before
