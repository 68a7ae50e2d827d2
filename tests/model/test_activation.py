import pytest
import torch
from synthetic import model_params, random_model
from torch import nn

from stages.model.activation import swap_activations


def kinds(model):
    return {type(module) for module in model.modules()}


@pytest.mark.parametrize(("library", "name"), [("torchvision", "efficientnet_b0"),
                                               ("timm", "test_efficientnet")])
@pytest.mark.parametrize(("activation", "expected"), [("relu6", nn.ReLU6),
                                                      ("hardswish", nn.Hardswish)])
def test_every_silu_is_replaced_and_the_model_works(library, name, activation, expected):
    model = random_model(model_params(name, library=library, activation=activation))
    assert nn.SiLU not in kinds(model)
    assert expected in kinds(model)
    with torch.no_grad():
        assert torch.isfinite(model(torch.zeros(1, 3, 32, 32))).all()


@pytest.mark.parametrize("name", ["test_convnext", "test_vit"])
def test_gelu_of_timm_is_replaced(name):
    before, after = (kinds(random_model(model_params(name, activation=activation)))
                     for activation in ("keep", "relu6"))
    smooth = {kind for kind in before if "GELU" in kind.__name__}
    assert smooth
    assert nn.ReLU6 in after
    assert not smooth & after


def test_what_is_read_once_more_is_not_overwritten():
    class Shortcut(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.SiLU(), nn.SiLU(inplace=True)

        def forward(self, x):
            return x + self.second(self.first(x) + 0)

    model = Shortcut()
    assert swap_activations(model, "relu6") == 2
    assert (model.first.inplace, model.second.inplace) == (False, True)
    x = torch.tensor([-3.0, 1.0])
    assert model(x).tolist() == [-3.0, 2.0]


def test_gates_stay():
    kept = random_model(model_params("efficientnet_b0", library="torchvision"))
    swapped = random_model(model_params("efficientnet_b0", library="torchvision",
                                        activation="relu6"))
    assert nn.SiLU in kinds(kept)
    for model in (kept, swapped):
        assert sum(isinstance(module, nn.Sigmoid) for module in model.modules()) == 16
    assert swapped.state_dict().keys() == kept.state_dict().keys()


def test_keep_changes_nothing():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.SiLU(), nn.GELU())
    assert swap_activations(model, "keep") == 0
    assert [type(child) for child in model] == [nn.Conv2d, nn.SiLU, nn.GELU]


def test_nothing_to_replace_is_told(caplog):
    assert swap_activations(nn.Sequential(nn.ReLU(), nn.ReLU6()), "hardswish") == 0
    assert "model.activation=hardswish: this model has no smooth activation" in caplog.text


def test_each_place_gets_a_module_of_its_own():
    model = nn.Sequential(nn.SiLU(), nn.Sequential(nn.GELU(), nn.Mish()))
    assert swap_activations(model, "relu6") == 3
    assert len({id(module) for module in model.modules() if isinstance(module, nn.ReLU6)}) == 3
