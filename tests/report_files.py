"""What the report's pages are written from, copied to a folder of its own."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from paths import ROOT
from synthetic import random_pictures

from stages import page


def copy_metrics(folder: Path) -> None:
    """The repository's params.yaml, metrics and plots."""
    (folder / "docs").mkdir(parents=True)
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    for name in ("metrics", "plots"):
        shutil.copytree(ROOT / name, folder / name)


def selected_in(folder: Path) -> str:
    """The variant that the summary in `folder` selects, which depends on the machine of the run."""
    return json.loads((folder / "metrics" / "summary.json").read_text())["selected"]["variant"]


def add_pictures(folder: Path, side: int = 8) -> None:
    """A data/ that agrees with the tables of confusion in `folder`; its pictures are noise."""
    tables = {path.stem: pd.read_csv(path, dtype=str)
              for path in (folder / "plots" / "confusion").glob("*.csv")}
    classes = sorted(set().union(*(table.actual for table in tables.values())))
    labels = [classes.index(name) for name in tables["onnx_fp32"].actual]
    (folder / "data" / "predictions").mkdir(parents=True)
    for name, table in tables.items():
        rows = pd.DataFrame({"split": "test", "position": range(len(labels)), "label": labels,
                             "predicted": [classes.index(cell) for cell in table.predicted],
                             "confidence": np.linspace(0.3, 0.9, len(labels))})
        extra = rows[:1].assign(split="validation")
        pd.concat([extra, rows]).to_csv(folder / "data" / "predictions" / f"{name}.csv",
                                        index=False)
    np.save(folder / "data" / "images.npy", random_pictures(len(labels), side, side))
    (folder / "data" / "splits.json").write_text(json.dumps({
        "name": "digits", "classes": classes, "labels": labels,
        "splits": {"test": list(range(len(labels))), "train": [0], "validation": [0],
                   "calibration": [0]}}))


def edit_json(path: Path, change: Any) -> None:
    """Put the content of the JSON file `path` through `change`, which edits it in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def write_pages(folder: Path, patch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The HTML and the Markdown page, made in `folder` on the machine its timings are from."""
    measured = json.loads((folder / "metrics" / "system.json").read_text())
    patch.chdir(folder)
    patch.setattr(page, "describe_system", lambda: measured)
    patch.setattr(page, "what_changed", lambda: None)  # DVC isn't there
    page.main()
    return tuple((folder / path).read_text(encoding="utf-8")
                 for path in (page.HTML, page.MARKDOWN))
