"""Training reads its pictures, of which there are more than the memory it may have, by batch."""

import subprocess
import sys

import pytest
from paths import ROOT

CAP = 9 * 2**27
PROGRAM = """
import os, resource, sys
import numpy as np, torch
from synthetic import training_params
from torch import nn
from stages.data.dataset import IMAGES_FILE, load_dataset, write_splits
from stages.data.listing import Listing
from stages.training.loop import train

torch.set_num_threads(1)
count, side, cap = 6_416, 256, int(sys.argv[1])
os.makedirs("data")
shape = (count, side, side, 3)
np.lib.format.open_memmap(IMAGES_FILE, mode="w+", dtype=np.uint8, shape=shape)[::500] = 200
every = np.arange(count)
write_splits("sparse", Listing(["a", "b"], every % 2, None, iter(())),
             {"train": every[:-16], "validation": every[-16:], "test": every[:1],
              "calibration": every[:1]})
assert (count - 16) * side**2 * 3 > cap
resource.setrlimit(resource.RLIMIT_DATA, (cap, cap))
dataset = load_dataset()
if sys.argv[2] == "in memory":
    dataset.images = dataset.images[every[:-16]]
model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
history = train(model, dataset, training_params(epochs=1, batch_size=40), "run")
print(history.images)
"""


def run(folder, how):
    return subprocess.run([sys.executable, "-c", PROGRAM, str(CAP), how], cwd=folder, text=True,
                          capture_output=True, timeout=300,
                          env={"PATH": "", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
                               "OMP_NUM_THREADS": "1"})


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mapped memory on Linux")
def test_a_split_larger_than_memory_is_trained_on(tmp_path):
    result = run(tmp_path, "mapped")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[6400]"


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mapped memory on Linux")
def test_the_cap_holds(tmp_path):
    """The same with the split read into memory fails, so that the test above means something."""
    result = run(tmp_path, "in memory")
    assert result.returncode != 0
    assert "MemoryError" in result.stderr
