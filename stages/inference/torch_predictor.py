"""Opening a checkpoint to run it.

Apart from predictor.py because the model libraries take seconds to import, which the stages that
run ONNX models alone do without; nor need those be run again when a model is built otherwise.
"""

from pathlib import Path

import numpy as np
import torch

from stages.config.schema import Model
from stages.inference.cpu import thread_count
from stages.inference.session import Predictor
from stages.model.checkpoint import load_checkpoint


def load_torch(path: Path, params: Model, mode: str = "channels_last",
               classes: list[str] | None = None) -> Predictor:
    """Load a checkpoint to run on the CPU with all its cores.

    Args:
        mode: eager (memory as it comes), channels_last, or compile (channels_last, and
            torch.compile at the first run).
        classes: of the data that it is to be for; None takes any.

    Raises:
        UserError: the file is missing or no such checkpoint.
    """
    return torch_predictor(load_checkpoint(path, params, classes)[0], mode)


def torch_predictor(model: torch.nn.Module, mode: str = "channels_last") -> Predictor:
    """The module, in eval mode, as `load_torch` runs it; its weights are laid out anew."""
    layout = torch.contiguous_format if mode == "eager" else torch.channels_last
    model = model.to(memory_format=layout)
    if mode == "compile":
        model = torch.compile(model)
    torch.set_num_threads(thread_count())
    return lambda batch: _run_torch(model, batch, layout)


def _run_torch(model: torch.nn.Module, batch: np.ndarray, layout: torch.memory_format
               ) -> np.ndarray:
    with torch.inference_mode():
        inputs = torch.from_numpy(batch).contiguous(memory_format=layout)
        return model(inputs).numpy()
