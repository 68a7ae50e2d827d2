import pytest
import torch
from synthetic import LITE0, model_params
from torch import nn

from stages.onnx_graph.cost import multiply_accumulates
from stages.onnx_graph.export import export_onnx


@pytest.mark.parametrize("opset", [13, 18])
def test_by_hand(opset):
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),            # 8 * 16 * 16 outputs, 27 each
        nn.ReLU(), nn.Conv2d(8, 8, 5, padding=2, groups=8),  # 8 * 16 * 16 outputs, 25 each
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval()
    proto = export_onnx(model, model_params(image_size=32), ["a", "b", "c"], opset)
    assert list(multiply_accumulates(proto).values()) == [8 * 256 * 27, 8 * 256 * 25, 24]


class Tokens(nn.Module):
    """16 patches a picture, all in one product of matrices."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, stride=8)
        self.mix, self.head = nn.Linear(8, 5), nn.Linear(5, 3)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        mixed = self.mix(tokens.reshape(-1, 8))
        return self.head(mixed.reshape(x.shape[0], 16, 5).mean(1))


@pytest.mark.parametrize("opset", [13, 18])
def test_rows_of_a_picture_beside_each_other_count_all(opset):
    proto = export_onnx(Tokens().eval(), model_params(image_size=32), ["a", "b", "c"], opset)
    assert sorted(multiply_accumulates(proto).values()) == [5 * 3, 16 * 8 * 5, 16 * 8 * 192]


def test_of_efficientnet_as_pytorch_runs_it(exported):
    model, params, proto = exported(LITE0, 32, 18)
    expected = []

    def count(layer, inputs, output):
        expected.append(output.numel() * layer.weight[0].numel())

    hooks = [layer.register_forward_hook(count) for layer in model.modules()
             if isinstance(layer, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        model(torch.zeros(1, 3, params.image_size, params.image_size))
    for hook in hooks:
        hook.remove()
    assert list(multiply_accumulates(proto).values()) == expected
