"""Small parameters, models and pictures that several tests share."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from stages.config.schema import Model, Params, Recipe
from stages.data.dataset import IMAGES_FILE, SPLITS_FILE, Dataset, write_splits
from stages.data.listing import Listing
from stages.model.build import build_model

CLASSES = ["left", "middle", "right"]
SIDE = 12
TINY = "test_efficientnet"
LITE0 = "tf_efficientnet_lite0"


def model_params(name: str = TINY, image_size: int = 32, *, library: str = "timm",
                 weights: str = "none", activation: str = "keep") -> Model:
    """The model section of params.yaml."""
    return OmegaConf.structured(Model(library=library, name=name, weights=weights,
                                      activation=activation, image_size=image_size,
                                      mean=[0.4, 0.5, 0.6], std=[0.2, 0.25, 0.3]))


def random_model(params: Model, classes: int = len(CLASSES), seed: int = 0) -> torch.nn.Module:
    """`params.name` with seeded random weights and batch norms that do something, for inference."""
    torch.manual_seed(seed)
    model = build_model(params, classes, pretrained=False)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
    return model.eval()


def lite0(classes: int = len(CLASSES), image_size: int = 32) -> tuple[Any, Model]:
    """EfficientNet-Lite0 with its ImageNet weights and a seeded random head, and its parameters."""
    params = model_params(LITE0, image_size, weights="imagenet")
    model = build_model(params, classes)
    torch.manual_seed(0)
    torch.nn.init.normal_(model.get_classifier().weight, std=0.1)
    return model.eval(), params


def make_dataset(count: int = 150, seed: int = 0) -> Dataset:
    """Noisy pictures of SIDE pixels with a bright band; its third of the picture is the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    images = rng.integers(0, 120, (count, SIDE, SIDE, 3), dtype=np.uint8)
    width = SIDE // len(CLASSES)
    for image, label in zip(images, labels, strict=True):
        image[:, label * width:(label + 1) * width] += 100
    parts = np.split(rng.permutation(count), [count // 2, 3 * count // 4, 7 * count // 8])
    names = ("train", "validation", "test", "calibration")
    return Dataset("bands", CLASSES, images, labels.astype(np.int64),
                   {name: np.sort(part) for name, part in zip(names, parts, strict=True)})


def leave_prepared(folder: Path, dataset: Dataset) -> None:
    """Write `dataset` below `folder` as the prepare stage leaves it."""
    (folder / IMAGES_FILE).parent.mkdir(parents=True, exist_ok=True)
    np.save(folder / IMAGES_FILE, dataset.images)
    write_splits(dataset.name, Listing(dataset.classes, dataset.labels, None, iter(())),
                 dataset.splits, folder / SPLITS_FILE)


def training_params(**train: Any) -> Params:
    """Parameters of a short run; `train` overrides keys of its train section."""
    params = OmegaConf.structured(Params())
    params.data.horizontal_flip = False
    params.model = model_params(image_size=16)
    params.train.update({
        "launcher": "python", "seed": 0, "epochs": 4, "batch_size": 16, "lr": 0.02,
        "weight_decay": 0.01, "label_smoothing": 0.1, "ema_decay": 0.5, "crop_padding": 1,
        "cutout": 0, "start_image_size": 8, "frozen": [], "precision": "fp32", "patience": 10,
        "min_delta": 0.0, **train})
    return params


def recipe(method: str = "static", **changes: Any) -> Recipe:
    """A recipe of `method`; `changes` override its keys."""
    fixed = method != "dynamic"
    return Recipe(**{"method": method, "weight_type": "QInt8", "activation_type": "QUInt8",
                     "per_channel": fixed, "calibration": "minmax" if fixed else "none",
                     "bias_correction": False, **changes})


def a_system(**cpu: Any) -> dict[str, Any]:
    """metrics/system.json of a made-up machine; `cpu` overrides facts of its CPU."""
    return {"cpu": {"model": "A CPU", "architecture": "x86_64", "cores": 2, "threads_used": 2,
                    "flags": ["avx", "avx2", "fma"], **cpu},
            "packages": {"torch": "9.9", "onnxruntime": "9.9"}}


def random_batch(count: int, image_size: int, seed: int = 0) -> np.ndarray:
    """Float32 (count, 3, image_size, image_size), as a model takes it."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, 3, image_size, image_size)).astype(np.float32)


def logits_of(model: torch.nn.Module, batch: np.ndarray) -> np.ndarray:
    """What PyTorch says of `batch`."""
    with torch.no_grad():
        return model(torch.from_numpy(batch)).numpy()


def random_pictures(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Uint8 (count, height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


class Malicious:
    """An object whose unpickling creates a file."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.witness,)


