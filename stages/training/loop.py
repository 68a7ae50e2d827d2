"""The training loop, from top to bottom."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import (
    DataLoaderConfiguration,
    broadcast,
    broadcast_object_list,
    gather_object,
)
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from stages.config.errors import UserError
from stages.config.schema import Params, Train
from stages.data.dataset import Dataset
from stages.model.checkpoint import save_torch
from stages.model.preprocess import preprocess
from stages.training.augment import augment
from stages.training.depthwise import FastDepthwise
from stages.training.early_stopping import EarlyStopping
from stages.training.freeze import freeze
from stages.training.loader import make_loader
from stages.training.precision import emulates_bfloat16
from stages.training.resume import load_state, save_state

log = logging.getLogger(__name__)

WARMUP_SHARE = 0.2
SIZE_STEP = 32
VALIDATION_BATCH = 128  # at most, a process
LAST_GOOD_FILE = Path("models/last_good.pt")


@dataclass
class History:
    """What a run did, epoch by epoch.

    seconds: wall time of each epoch, validation included; step_seconds: of its steps alone.
    images: pictures trained on in each epoch, by all processes together.
    precision: that it trained in, which is not train.precision where bf16 is emulated; two where
        it was stopped and went on elsewhere.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    best_epoch: int = 0
    stopped_early: bool = False
    precision: str = ""


def image_size_of(epoch: int, epochs: int, start: int, end: int) -> int:
    """The picture size of `epoch` (from 1): grows from `start` to `end` in steps of 32 pixels.

    At least the last third of the epochs runs at the full size. Source: M. Tan and Q. Le,
    EfficientNetV2, 2021 (progressive learning).
    """
    progress = min(1.0, 1.5 * (epoch - 1) / (epochs - 1)) if epochs > 1 else 1.0
    return end if progress == 1.0 else min(
        end, max(start, round((start + (end - start) * progress) / SIZE_STEP) * SIZE_STEP))


def train(model: nn.Module, dataset: Dataset, params: Params, run: str) -> History:
    """Train `model` in place until early stopping or the last epoch; it ends as its best epoch.

    The state after each epoch is kept, and a run that was stopped goes on from there. Started by
    torchrun or accelerate, each process takes its share of every batch and all end alike.

    Raises:
        UserError: the training split is smaller than a batch, the batch can't be shared evenly,
            the pictures are too small for the crop padding or the cutout, the model has not the
            parts to be frozen, or the loss is not finite.
    """
    settings = params.train
    precision = settings.precision
    if precision == "bf16" and emulates_bfloat16():
        log.warning("train.precision: bf16 is emulated on this %s, and slow; trains in fp32",
                    "GPU" if torch.cuda.is_available() else "CPU")
        precision = "fp32"
    accelerator = Accelerator(cpu=not torch.accelerator.is_available(),
                              mixed_precision="bf16" if precision == "bf16" else "no",
                              dataloader_config=DataLoaderConfiguration(split_batches=True))
    check_settings(settings, dataset, accelerator.num_processes)
    if settings.start_image_size > params.model.image_size:
        log.warning("train.start_image_size: %d is above model.image_size, which is %d: pictures "
                    "do not grow", settings.start_image_size, params.model.image_size)
    averaged = AveragedModel(model, use_buffers=True, multi_avg_fn=averaging(settings.ema_decay))
    raw = model.to(memory_format=torch.channels_last)
    frozen = freeze(raw, settings.frozen)
    shuffle, augmentation = torch.Generator(), torch.Generator()
    optimizer = torch.optim.AdamW([p for p in raw.parameters() if p.requires_grad], settings.lr,
                                  weight_decay=settings.weight_decay)
    model, optimizer, loader, validation = accelerator.prepare(
        raw, optimizer, make_loader(dataset, "train", settings.batch_size, shuffle),
        make_loader(dataset, "validation",  # without gradients more pictures fit
                    min(VALIDATION_BATCH * accelerator.num_processes, 4 * settings.batch_size)))
    steps = max(2, settings.epochs * len(loader))  # a cycle of one step would be its end alone
    # OneCycleLR divides by the steps of its warm-up less one.
    scheduler = OneCycleLR(optimizer, settings.lr, total_steps=steps,
                           pct_start=WARMUP_SHARE if steps * WARMUP_SHARE != 1 else 2 / steps)
    averaged.module.to(accelerator.device, memory_format=torch.channels_last)
    criterion = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
    stopping = EarlyStopping(settings.patience, settings.min_delta)
    history, best, first = History(precision=precision), None, 1

    # The main process kept it, maybe on a disk that the others don't see.
    [state] = broadcast_object_list([load_state(run) if accelerator.is_main_process else None])
    if state:
        raw.load_state_dict(state["model"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        stopping = EarlyStopping(**state["stopping"])
        history, best, first = History(**state["history"]), state["best"], state["epoch"] + 1
        log.info("goes on after epoch %d of %d", state["epoch"], settings.epochs)
        if not history.precision.endswith(precision):
            log.warning("train.precision: was %s up to here, is %s on this machine",
                        history.precision, precision)
            history.precision += f", then {precision}"

    bar = tqdm(total=settings.epochs * len(loader), initial=(first - 1) * len(loader),
               unit="batch", disable=None if accelerator.is_main_process else True)
    for epoch in range(first, settings.epochs + 1):
        if stopping.should_stop:
            break
        began = time.perf_counter()
        size = image_size_of(epoch, settings.epochs, settings.start_image_size,
                             params.model.image_size)
        # Not seed + epoch, by which neighbouring seeds would share all epochs but one.
        seeds = np.random.SeedSequence((settings.seed, epoch)).generate_state(3).tolist()
        for drawn, source in zip(seeds, (torch, shuffle, augmentation), strict=True):
            source.manual_seed(drawn)
        model.train(settings.lr > 0)  # batch norm keeps its statistics where nothing is learned
        for part in frozen:
            part.eval()
        losses, correct, seen = 0.0, 0, 0
        for step, (pictures, labels) in enumerate(loader, 1):
            pictures = augment(pictures.cpu(), crop_padding=settings.crop_padding,
                               horizontal_flip=params.data.horizontal_flip,
                               cutout=settings.cutout, generator=augmentation,
                               share=(accelerator.process_index, accelerator.num_processes))
            batch = preprocess(pictures.to(accelerator.device), size, params.model.mean,
                               params.model.std)
            with FastDepthwise():
                logits = model(batch)
            loss = criterion(logits, labels)
            # Of all processes, so that they stop together.
            if bad := [value for value in accelerator.gather(loss.detach()).flatten().tolist()
                       if not math.isfinite(value)]:
                raise UserError(f"loss is {bad[0]} at step {step} of epoch {epoch} "
                                f"(lr {scheduler.get_last_lr()[0]:.3g}); lower train.lr"
                                f"{keep_last_good(best, accelerator)}")
            accelerator.backward(loss)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            averaged.update_parameters(raw)
            losses += loss.item() * len(labels)
            correct += (logits.argmax(1) == labels).sum().item()
            seen += len(labels)
            bar.update()
            bar.set_postfix(epoch=epoch, loss=f"{losses / seen:.3f}", acc=f"{correct / seen:.3f}",
                            images_s=f"{seen / (time.perf_counter() - began):.0f}")
        history.step_seconds.append(time.perf_counter() - began)
        losses, correct, seen = map(sum, zip(*gather_object([(losses, correct, seen)]),
                                             strict=True))
        # Batch-norm statistics are each process's own; the first one's count.
        broadcast(list(averaged.module.buffers()))
        loss, accuracy = evaluate(averaged.module, validation, params, accelerator)
        if not math.isfinite(loss):
            raise UserError(f"validation loss is {loss} after epoch {epoch} "
                            f"(lr {scheduler.get_last_lr()[0]:.3g}); lower train.lr"
                            f"{keep_last_good(best, accelerator)}")
        row = {"train.loss": losses / seen, "train.accuracy": correct / seen,
               "val.loss": loss, "val.accuracy": accuracy, "image_size": size}
        history.epochs.append(row)
        history.seconds.append(time.perf_counter() - began)
        history.images.append(int(seen))
        if stopping.update(epoch, accuracy, loss):
            best = _copy(averaged.module.state_dict())
        history.best_epoch = stopping.best_epoch
        history.stopped_early = stopping.should_stop and epoch < settings.epochs
        if accelerator.is_main_process:
            log.info("epoch %d/%d at %d px: loss %.4f, validation loss %.4f, accuracy %.4f, "
                     "%.0f images/s", epoch, settings.epochs, size, row["train.loss"], loss,
                     accuracy, seen / history.step_seconds[-1])
            save_state(run, {"epoch": epoch, "model": raw.state_dict(), "best": best,
                             "averaged": averaged.state_dict(),
                             "optimizer": optimizer.state_dict(),
                             "scheduler": scheduler.state_dict(), "stopping": asdict(stopping),
                             "history": asdict(history)})
    bar.close()
    raw.load_state_dict(best)
    return history


def averaging(decay: float) -> Callable[[list[torch.Tensor], list[torch.Tensor], Any], None]:
    """The exponential moving average, by which tables of whole numbers stay what they are.

    Indices are copied, since averages of them are cut to the number below. Batch norm's counters,
    which have no axes, are averaged like all else: nothing reads them.
    """
    average = get_ema_multi_avg_fn(decay)

    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], count: Any) -> None:
        average(averaged, current, count)
        for kept, new in zip(averaged, current, strict=True):
            if not kept.is_floating_point() and kept.dim():
                kept.copy_(new)

    return update


def check_settings(settings: Train, dataset: Dataset, processes: int) -> None:
    """Refuse settings that don't fit the data set or the number of processes.

    Raises:
        UserError: see `train`.
    """
    if settings.crop_padding >= (side := min(dataset.images.shape[1:3])):
        raise UserError(f"train.crop_padding: got {settings.crop_padding}, may be at most "
                        f"{side - 1} for pictures of {side} pixels")
    if settings.cutout > side:
        raise UserError(f"train.cutout: got {settings.cutout}, may be at most {side} for pictures "
                        f"of {side} pixels")
    if len(dataset.splits["train"]) < settings.batch_size:
        raise UserError(f"train.batch_size: got {settings.batch_size}, but the training split has "
                        f"{len(dataset.splits['train'])} pictures")
    if settings.batch_size % processes:
        raise UserError(f"train.batch_size: got {settings.batch_size}, must be a multiple of the "
                        f"{processes} processes that train.launcher starts")
    if settings.batch_size < 2 * processes:
        raise UserError(f"train.batch_size: got {settings.batch_size}, must be at least "
                        f"{2 * processes}, two pictures for each process that train.launcher "
                        "starts: batch norm needs them")


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader, params: Params, accelerator: Accelerator
             ) -> tuple[float, float]:
    """Mean cross-entropy and accuracy (a fraction) of `model` in float32 at the full size.

    Every picture counts once, however many processes share the last batch.
    """
    model.eval()
    losses, correct, seen = 0.0, 0, 0
    for pictures, labels in loader:
        batch = preprocess(pictures, params.model.image_size, params.model.mean, params.model.std)
        logits, labels = accelerator.gather_for_metrics((model(batch).float(), labels))
        losses += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        correct += (logits.argmax(1) == labels).sum().item()
        seen += len(labels)
    return losses / seen, correct / seen


def keep_last_good(best: dict[str, Any] | None, accelerator: Accelerator) -> str:
    """Write the best epoch's weights, if any has ended, to LAST_GOOD_FILE; what to tell of it."""
    if best is None:
        return ""
    if accelerator.is_main_process:
        save_torch(LAST_GOOD_FILE, {"state_dict": best})
    accelerator.wait_for_everyone()  # a launcher kills the others when one has ended
    return f"; model.weights={LAST_GOOD_FILE} goes on from the best epoch before"


def _copy(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value.detach().clone() for name, value in state.items()}
