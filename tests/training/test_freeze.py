import pytest
import torch
from torch import nn

from stages.config.errors import UserError
from stages.training.freeze import freeze


def small_model():
    return nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.ReLU(),
                         nn.Flatten(), nn.Linear(4 * 9, 2))


def test_a_frozen_part_gets_no_gradient_and_the_rest_does():
    model = small_model()
    assert freeze(model, ["0"]) == [model[0]]
    model(torch.randn(4, 3, 5, 5)).sum().backward()
    assert all(parameter.grad is None for parameter in model[0].parameters())
    assert all(parameter.grad is not None for parameter in model[3].parameters())


def test_an_unknown_part_is_named_with_the_parts_there_are():
    with pytest.raises(UserError, match=r"no part 'blocks\.0'; its parts are 0, 1, 2, 3"):
        freeze(small_model(), ["0", "blocks.0"])


def test_nothing_left_to_train_is_refused():
    with pytest.raises(UserError, match="nothing is left to train"):
        freeze(small_model(), ["0", "3"])
