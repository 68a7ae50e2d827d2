"""A program for tests: trains a network on synthetic pictures, without batch norm but if told so.

    python two_processes.py FOLDER                                           # one process
    python -m torch.distributed.run --nproc-per-node 2 two_processes.py FOLDER  # two
    python two_processes.py FOLDER stop     # stops once the state of the first epoch is kept
    python two_processes.py FOLDER diverge  # a weight of the second process is no number
    python two_processes.py FOLDER norm     # with batch norm; frozen: the same, but its statistics

Each process works in a folder of its own, FOLDER/0 and FOLDER/1, as on two machines. The main
process leaves model.pt and history.json in FOLDER.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import PartialState
from synthetic import CLASSES, make_dataset, training_params
from torch import nn

from stages.model.preprocess import preprocess
from stages.training import loop
from stages.training.resume import save_state

folder = Path(sys.argv[1]).resolve()
work = folder / os.environ.get("RANK", "0")
work.mkdir(exist_ok=True)
os.chdir(work)
if sys.argv[2:] == ["stop"]:
    def save_and_stop(*arguments):
        save_state(*arguments)
        sys.exit()
    loop.save_state = save_and_stop
if sys.argv[2:] == ["diverge"]:
    def image_size_of(epoch, *others):
        if epoch == 2 and os.environ.get("RANK") == "1":
            model[0].weight.data.fill_(float("nan"))
        return size_of_epoch(epoch, *others)
    size_of_epoch, loop.image_size_of = loop.image_size_of, image_size_of
torch.manual_seed(0)
norm = nn.BatchNorm2d(8) if sys.argv[2:] in (["norm"], ["frozen"]) else nn.Identity()
model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), norm, nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
                      nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, len(CLASSES)))
dataset = make_dataset()
assert len(dataset.splits["validation"]) % 2
params = training_params(crop_padding=2, cutout=4, epochs=2,
                         frozen=["1"] if sys.argv[2:] == ["frozen"] else [])
history = loop.train(model, dataset, params, "run")
state = PartialState()
if state.is_main_process:
    pictures = preprocess(torch.from_numpy(dataset.view("validation")[:]), params.model.image_size,
                          params.model.mean, params.model.std)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(
            model.eval()(pictures), torch.from_numpy(dataset.labels_of("validation"))).item()
    torch.save(model.state_dict(), folder / "model.pt")
    (folder / "history.json").write_text(json.dumps({
        **asdict(history), "processes": state.num_processes, "loss_of_what_is_left": loss}))
