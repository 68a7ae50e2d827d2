"""A program for tests: trains a network without batch norm on synthetic pictures.

    python two_processes.py FOLDER                                           # one process
    python -m torch.distributed.run --nproc-per-node 2 two_processes.py FOLDER  # two
    python two_processes.py FOLDER stop     # stops once the state of the first epoch is kept

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
model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
                      nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, len(CLASSES)))
dataset = make_dataset()
assert len(dataset.splits["validation"]) % 2
history = loop.train(model, dataset, training_params(crop_padding=2, cutout=4, epochs=2), "run")
state = PartialState()
if state.is_main_process:
    torch.save(model.state_dict(), folder / "model.pt")
    (folder / "history.json").write_text(json.dumps({**asdict(history),
                                                     "processes": state.num_processes}))
