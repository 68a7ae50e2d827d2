"""Models of conf/model that were not trained on anything here: good for their speed."""

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from stages.config.schema import Model
from stages.model.build import build_model
from stages.model.preprocess import preprocess
from stages.onnx_graph.export import export_onnx

OPSET = 18
HEAD_STD = 0.01


def untrained(params: Model, pictures: np.ndarray, classes: int) -> nn.Module:
    """The model, in which no tensor is constant, as the zeros of a new head would make it."""
    torch.manual_seed(0)
    model = build_model(params, classes)
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    nn.init.normal_(linear[-1].weight, std=HEAD_STD)
    if params.weights == "none":
        fit_batch_norms(model, preprocess(torch.from_numpy(pictures), params.image_size,
                                          params.mean, params.std))
    return model.eval()


def fit_batch_norms(model: nn.Module, batch: torch.Tensor) -> None:
    """Set their statistics by `batch`; with none, random weights let the activations fade away."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over what was seen, in place of a moving one
    model.train()
    with torch.no_grad():
        model(batch)


def export_untrained(params: Model, pictures: np.ndarray, classes: list[str], path: Path) -> None:
    """Write the model that is `untrained` to `path` as ONNX."""
    onnx.save(export_onnx(untrained(params, pictures, len(classes)), params, classes, OPSET), path)
