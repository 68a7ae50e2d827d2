import pytest
from synthetic import model_params
from torch import nn

from stages.model.build import build_model
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


def test_of_a_published_model():
    """EfficientNet-Lite0 has 407 million at 224 pixels with 1,000 classes, by its authors."""
    params = model_params("tf_efficientnet_lite0", 224)
    model = build_model(params, 1000, pretrained=False)
    proto = export_onnx(model, params, [str(index) for index in range(1000)], 18)
    assert sum(multiply_accumulates(proto).values()) == pytest.approx(407e6, rel=0.06)
