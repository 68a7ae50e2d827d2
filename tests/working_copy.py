"""A copy of this working tree as a repository of its own, on a small configuration."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from paths import ROOT
from synthetic import TINY

from stages.config.compose import compose

SMALL = [f"model.name={TINY}", "model.weights=none", "model.image_size=32",
         "train.start_image_size=32", "train.epochs=2", "data.calibration_size=20",
         "benchmark.latency_runs=10", "benchmark.warmup_runs=2",
         "benchmark.percentiles=[50]", "benchmark.batch_sizes=[1,4]",
         "benchmark.throughput_rounds=2", "quantize.variants.int8_qat.qat.steps=2",
         "quantize.variants.int8_mixed.layers_per_group=20"]


def make_working_copy(folder: Path) -> Path:
    """Copy every file that git tracks or would track to `folder` and commit it there."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT,
                            capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    run(folder, "git", "init", "-q", "-b", "main")
    run(folder, "git", "config", "user.name", "test")
    run(folder, "git", "config", "user.email", "test@localhost")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "copy")
    return folder


def write_params(folder: Path, *overrides: str) -> None:
    """Write params.yaml of `folder` from its conf/."""
    compose(folder / "conf", folder / "params.yaml", overrides)


def run(folder: Path, *command: str, check: bool = True, **environment: str
        ) -> subprocess.CompletedProcess:
    """Run `command` in `folder`, with no data source but those given.

    "dvc" and "python" are those of this environment.
    """
    inherited = {name: value for name, value in os.environ.items()
                 if not name.startswith("DATA_SOURCE_")}
    programs = {"python": [sys.executable], "dvc": [sys.executable, "-m", "dvc"]}
    result = subprocess.run(
        [*programs.get(command[0], [command[0]]), *command[1:]], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=3600,
        env={**inherited, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
             "DVC_NO_ANALYTICS": "1", **environment})
    assert not check or result.returncode == 0, result.stdout
    return result
