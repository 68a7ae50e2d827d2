"""README's commands for a sweep: queued, run, compared, applied, and diffed as a branch."""

import json
import re

import pytest
import yaml
from paths import ROOT
from working_copy import SMALL, make_working_copy, run

PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
KEY = "quantize.variants.int8_static.calibration"


@pytest.mark.slow
def test_a_sweep_is_queued_run_compared_and_applied(tmp_path):
    for command in ("dvc exp run --queue -n calibration", "dvc exp run --run-all",
                    "dvc queue status", "python -m stages.compare my_sweep calibration-{1..10}",
                    "dvc exp apply", "dvc exp branch", "dvc metrics diff"):
        assert command in PAGE, command
    folder = make_working_copy(tmp_path / "repository")
    small = [part for override in SMALL for part in ("-S", override)]
    run(folder, "dvc", "exp", "run", "--queue", "-n", "calibration", *small, "-S",
        f"{KEY}=minmax,mse")
    run(folder, "dvc", "exp", "run", "--run-all")
    status = run(folder, "dvc", "queue", "status").stdout
    assert len(re.findall(r"calibration-[12] .*Success", status)) == 2, status
    run(folder, "python", "-m", "stages.compare", "my_sweep", "calibration-1", "calibration-2",
        "--by", KEY)
    page = (folder / "docs/results/my_sweep/README.md").read_text()
    assert re.findall(r"^\| calibration-\d +\| (minmax|mse) ", page, re.M) == ["minmax", "mse"]
    assert len(re.findall(r"^\| calibration-\d +\| int8_static ", page, re.M)) == 2

    shown = json.loads(run(folder, "dvc", "exp", "show", "--json").stdout)
    assert "calibration-2" in json.dumps(shown)
    run(folder, "dvc", "exp", "branch", "calibration-2", "by-mse")
    changed = json.loads(run(folder, "dvc", "params", "diff", "main", "by-mse", "--json").stdout)
    assert changed["params.yaml"][KEY] == {"old": "logits", "new": "mse"}
    run(folder, "dvc", "exp", "apply", "calibration-2")
    static = yaml.safe_load((folder / "params.yaml").read_text())["quantize"]["variants"][
        "int8_static"]
    assert static["calibration"] == "mse"
