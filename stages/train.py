"""Stage train: fine-tune the model with early stopping and keep the best epoch."""

import logging
from pathlib import Path

import torch
from accelerate import PartialState
from dvclive import Live
from omegaconf import OmegaConf
from torch import nn

from stages.config.errors import UserError
from stages.config.params import load_params
from stages.config.schema import Train
from stages.config.stage import run_stage
from stages.data.dataset import IMAGES_FILE, SPLITS_FILE, load_dataset
from stages.files.atomic import write_json
from stages.model.build import build_model, check_sizes, size_options
from stages.model.checkpoint import CHECKPOINT_FILE, save_checkpoint
from stages.model.weights import head_is_zero, head_of
from stages.training.loop import History, image_size_of, train
from stages.training.process import (
    compute_deterministically,
    keep_freed_memory,
    use_own_cores,
)
from stages.training.resume import discard_state, fingerprint, loaded_code

log = logging.getLogger(__name__)

HISTORY_DIR = Path("metrics/training")
TIMING_FILE = Path("metrics/training_time.json")
MAX_PARAMETERS = 530_000_000  # protobuf's 2 GiB, less what a graph takes


def write_history(history: History, parameters: int) -> None:
    """Write the run through DVCLive: a series for each number, and the best epoch's values."""
    with Live(str(HISTORY_DIR), dvcyaml=None, save_dvc_exp=False, report=None,
              monitor_system=False) as live:
        for row in history.epochs:
            for name, value in row.items():
                live.log_metric(name.replace(".", "/"), value)
            live.next_step()
        best = history.epochs[history.best_epoch - 1]
        live.summary.update(epochs=len(history.epochs), stopped_early=history.stopped_early,
                            parameters=parameters,
                            best={"epoch": history.best_epoch, "val_loss": best["val.loss"],
                                  "val_accuracy": best["val.accuracy"]})


def what_fixes_the_head(model: nn.Module, settings: Train) -> str:
    """Which setting leaves the classifier as it is, to be told; empty where it is trained."""
    if not settings.lr:
        return "train.lr: got 0"
    return next((f"train.frozen: holds {name}" for name in settings.frozen
                 if any(tensor.startswith(f"{name}.") for tensor in head_of(model))), "")


def main() -> None:
    params = load_params("data.horizontal_flip", "model", "train")
    if size_options(params.model) and params.train.start_image_size != params.model.image_size:
        raise UserError(f"train.start_image_size: got {params.train.start_image_size}, but "
                        f"{params.model.name} takes pictures of model.image_size alone, "
                        f"{params.model.image_size}")
    dataset = load_dataset()
    keep_freed_memory()
    compute_deterministically()
    use_own_cores()
    torch.manual_seed(params.train.seed)
    model = build_model(params.model, len(dataset.classes))
    parameters = sum(tensor.numel() for tensor in model.parameters())
    if parameters > MAX_PARAMETERS:
        raise UserError(f"model.name: {params.model.name} has {parameters:,} parameters, more than "
                        f"the {MAX_PARAMETERS:,} that one ONNX file holds in float32")
    sizes = {image_size_of(epoch, params.train.epochs, params.train.start_image_size,
                           params.model.image_size) for epoch in range(1, params.train.epochs + 1)}
    check_sizes(model, params.model, len(dataset.classes), *sorted(sizes))
    if head_is_zero(model) and (fixed := what_fixes_the_head(model, params.train)):
        raise UserError(f"{fixed}, but the classifier in model.weights is not one of the "
                        f"{len(dataset.classes)} classes of the data, and would stay zero")
    weights = Path(params.model.weights)
    run = fingerprint(OmegaConf.to_yaml(params), SPLITS_FILE, IMAGES_FILE, *loaded_code(),
                      *([weights] if weights.is_file() else []))
    history = train(model, dataset, params, run)
    processes = PartialState()
    if not processes.is_main_process:
        return
    save_checkpoint(CHECKPOINT_FILE, model, params.model, dataset.classes)
    write_history(history, parameters)
    write_json(TIMING_FILE, {
        "seconds": sum(history.seconds),
        "step_seconds": sum(history.step_seconds),
        "epoch_seconds": history.seconds,
        "images_per_second": sum(history.images) / sum(history.step_seconds),
        "precision": history.precision,
        "threads": torch.get_num_threads(),
        "processes": processes.num_processes,
        "device": processes.device.type})
    discard_state(run)
    log.info("best epoch %d of %d: validation accuracy %.4f", history.best_epoch,
             len(history.epochs), history.epochs[history.best_epoch - 1]["val.accuracy"])


if __name__ == "__main__":
    run_stage(main, __doc__)
