"""A program for tests: trains a network without batch norm on synthetic pictures.

    python two_processes.py FOLDER                                           # one process
    python -m torch.distributed.run --nproc-per-node 2 two_processes.py FOLDER  # two

The main process leaves model.pt and history.json in FOLDER.
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

from stages.training.loop import train

folder = Path(sys.argv[1])
os.chdir(folder)
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
                      nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, len(CLASSES)))
dataset = make_dataset()
assert len(dataset.splits["validation"]) % 2
history = train(model, dataset, training_params(crop_padding=0, epochs=2), "run")
state = PartialState()
if state.is_main_process:
    torch.save(model.state_dict(), "model.pt")
    Path("history.json").write_text(json.dumps({**asdict(history),
                                                "processes": state.num_processes}))
