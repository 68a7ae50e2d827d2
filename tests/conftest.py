"""What is dear to make and shared: exported and quantized models, one for the whole session."""

import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

# Before PyTorch: tests are of the CPU, also where there is an accelerator, and neither git nor DVC
# does for them what the user has set up for himself.
os.environ |= {"CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true",
               "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
               "DVC_GLOBAL_CONFIG_DIR": tempfile.gettempdir() + "/no-dvc-config",
               "DVC_SYSTEM_CONFIG_DIR": tempfile.gettempdir() + "/no-dvc-config"}

import onnx
import pooch
import pytest
import torch
from accelerate.state import AcceleratorState
from hypothesis import settings
from static_model import quantize_statically
from synthetic import CLASSES, LITE0, lite0, make_dataset, model_params, random_model, recipe
from tqdm import tqdm

from stages.config.schema import Model
from stages.data.dataset import Dataset
from stages.measurement.pinning import CAN_PIN, cores
from stages.onnx_graph.export import export_onnx
from stages.quantization.dynamic import quantize_dynamically

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# The first is half of a worker's time.
LONGEST = ("test_pipeline.py", "test_train.py", "test_distributed.py")


def pytest_configure(config: pytest.Config) -> None:
    """Each of pytest-xdist's workers takes cores of its own: threads of two would wait in turns."""
    if hasattr(config, "workerinput") and CAN_PIN:
        number = int(config.workerinput["workerid"].removeprefix("gw"))
        share = cores()[number::config.workerinput["workercount"]] or cores()
        os.sched_setaffinity(0, share)
        torch.set_num_threads(len(share))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST
               else len(LONGEST))


Case = tuple[object, Model, onnx.ModelProto]


@pytest.fixture(autouse=True)
def own_precision():
    """Accelerate keeps the precision of a training, and refuses the next test's if it is another.
    """
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A working folder without sources: an empty .env ends the search above it."""
    for name in list(os.environ):
        if name.startswith("DATA_SOURCE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(pooch.downloaders, "tqdm", functools.partial(tqdm, disable=True))
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / ".env").touch()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return make_dataset()


@pytest.fixture(scope="session")
def exported() -> Callable[..., Case]:
    """exported(name, image_size, opset, library): a model, its parameters, and its ONNX graph."""
    @functools.cache
    def export(name: str, image_size: int, opset: int, library: str = "timm") -> Case:
        if name == LITE0:
            model, params = lite0(image_size=image_size)
        else:
            params = model_params(name, image_size, library=library)
            model = random_model(params)
        return model, params, export_onnx(model, params, CLASSES, opset)
    return export


@pytest.fixture(scope="session")
def lite0_files(exported, dataset, tmp_path_factory) -> dict[str, Path]:
    """EfficientNet-Lite0 at opset 18: paths of the float model and of its INT8 variants."""
    folder = tmp_path_factory.mktemp("lite0")
    files = {name: folder / f"{name}.onnx" for name in ("fp32", "dynamic", "static")}
    _, params, proto = exported(LITE0, 32, 18)
    onnx.save(proto, files["fp32"])
    quantize_dynamically(files["fp32"], files["dynamic"], recipe("dynamic"))
    quantize_statically(files["fp32"], files["static"], recipe(), params,
                        dataset.view("calibration")[:])
    return files
