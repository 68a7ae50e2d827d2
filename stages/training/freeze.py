"""Parts of a pretrained model that training leaves as they are."""

from torch import nn

from stages.config.errors import UserError


def freeze(model: nn.Module, names: list[str]) -> list[nn.Module]:
    """Take the parts of `model` called `names` (as in conv_stem or blocks.0) out of training.

    Their weights get no gradients, so that the backward pass ends where they begin.

    Returns:
        The parts, to be put into evaluation mode whenever the model is put into training mode:
        their batch norm then keeps its statistics.

    Raises:
        UserError: the model has no such part, or nothing is left to train.
    """
    parts = dict(model.named_modules())
    for name in names:
        if name not in parts:
            raise UserError(f"train.frozen: the model has no part '{name}'; its parts are "
                            f"{', '.join(child for child, _ in model.named_children())} "
                            "and what they hold, as in blocks.0")
        parts[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError("train.frozen: nothing is left to train; leave the classifier out")
    return [parts[name] for name in names]
