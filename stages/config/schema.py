"""What params.yaml may hold: one dataclass a section, with types, ranges and choices."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

# The variant that all others are compared with.
REFERENCE = "onnx_fp32"


def number(low: float, high: float, default: float = MISSING) -> Any:
    """A number from `low` to `high`, both included, and required unless it has a default."""
    return field(default=default, metadata={"low": low, "high": high})


def choice(*allowed: str) -> Any:
    """A required string that is one of `allowed`."""
    return field(default=MISSING, metadata={"choices": allowed})


@dataclass
class Data:
    name: str = MISSING
    format: str = choice("digits", "cifar10", "imagefolder")
    sha256: str | None = None
    resolution: int = number(4, 4096)
    horizontal_flip: bool = MISSING
    validation_fraction: float = number(0.01, 0.5)
    test_fraction: float = number(0.01, 0.5)
    calibration_size: int = number(2, 100_000)
    seed: int = number(0, 2**31 - 1)


@dataclass
class Model:
    library: str = choice("timm", "torchvision")
    name: str = MISSING
    weights: str = MISSING
    activation: str = choice("keep", "relu6", "hardswish")
    image_size: int = number(8, 2048)
    mean: list[float] = field(default=MISSING, metadata={"low": -10, "high": 10, "length": 3})
    std: list[float] = field(default=MISSING, metadata={"low": 1e-6, "high": 10, "length": 3})


@dataclass
class Train:
    launcher: str = MISSING
    seed: int = number(0, 2**31 - 1)
    epochs: int = number(1, 10_000)
    batch_size: int = number(2, 65_536)
    lr: float = number(0.0, 100.0)
    weight_decay: float = number(0.0, 10.0)
    label_smoothing: float = number(0.0, 0.9)
    ema_decay: float = number(0.0, 0.99999)
    crop_padding: int = number(0, 64)
    cutout: int = number(0, 1024)
    start_image_size: int = number(8, 2048)
    frozen: list[str] = field(default=MISSING, metadata={"may_be_empty": True})
    precision: str = choice("fp32", "bf16")
    patience: int = number(1, 10_000)
    min_delta: float = number(0.0, 1.0)


@dataclass
class Export:
    opset: int = number(13, 20)
    max_abs_diff: float = number(0.0, 10.0)


@dataclass
class QatRecipe:
    steps: int = number(1, 1_000_000)
    batch_size: int = number(1, 65_536)
    lr: float = number(1e-8, 1.0)
    seed: int = number(0, 2**31 - 1)


@dataclass
class Recipe:
    method: str = choice("dynamic", "static", "mixed")
    weight_type: str = choice("QInt8", "QUInt8")
    activation_type: str = choice("QInt8", "QUInt8")
    per_channel: bool = MISSING
    calibration: str = choice("none", "minmax", "percentile", "entropy", "mse", "logits")
    bias_correction: bool = MISSING
    equalization: bool = False
    adaptive_rounding: bool = False
    cut_flat_tails: bool = False
    first_in_float: int = number(0, 1000, default=0)
    qat: QatRecipe | None = None
    reduce_range: bool = False
    max_drop_pp: float | None = number(0.0, 100.0, default=None)
    min_snr_db: float | None = number(0.0, 120.0, default=None)
    layers_per_group: int | None = number(1, 1000, default=None)
    calibration_images: int | None = number(2, 100_000, default=None)


@dataclass
class Quantize:
    max_drop_pp: float = number(0.0, 100.0)
    variants: dict[str, Recipe] = field(default=MISSING)


@dataclass
class Benchmark:
    latency_runs: int = number(10, 100_000)
    percentiles: list[int] = field(default=MISSING, metadata={"low": 1, "high": 99})
    warmup_runs: int = number(1, 10_000)
    batch_sizes: list[int] = field(default=MISSING, metadata={"low": 1, "high": 4096})
    throughput_rounds: int = number(2, 1_000)
    providers: list[str] = MISSING
    torch_modes: list[str] = field(default=MISSING,
                                   metadata={"choices": ("eager", "compile"),
                                             "may_be_empty": True})


@dataclass
class Params:
    """The whole of params.yaml. `variants` maps a variant's name to its model file."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    train: Train = field(default_factory=Train)
    export: Export = field(default_factory=Export)
    quantize: Quantize = field(default_factory=Quantize)
    variants: dict[str, str] = field(default=MISSING)
    benchmark: Benchmark = field(default_factory=Benchmark)
