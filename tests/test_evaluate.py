import sys
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from refusals import refusal
from synthetic import CLASSES as BANDS

from stages import evaluate
from stages.config.errors import UserError
from stages.evaluate import check_classes

CLASSES, PATH = ["cat", "dog", "frog"], Path("models/other.onnx")


@pytest.mark.parametrize(("shape", "told"), [
    ((4, 10), "10 numbers"), ((4, 3, 1), "3 by 1 numbers")])
def test_a_model_of_other_classes_is_refused(shape, told):
    with pytest.raises(UserError, match=f"models/other.onnx: gives {told} .* has 3 classes"):
        check_classes(np.zeros(shape, np.float32), CLASSES, PATH)


def test_a_model_of_these_classes_is_taken():
    check_classes(np.zeros((4, 3), np.float32), CLASSES, PATH)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_gives_nan_or_infinity_is_refused(value, dataset, tmp_path, monkeypatch):
    """Its class would be the first that is not finite."""
    def predicted(_, pictures, params):
        logits = np.zeros((len(pictures), len(BANDS)), np.float32)
        logits[3, 1] = value
        return logits

    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["evaluate", "int8_static"])
    monkeypatch.setattr(evaluate, "load_dataset", lambda: dataset)
    monkeypatch.setattr(evaluate, "_load", lambda *_: None)
    monkeypatch.setattr(evaluate, "predict", predicted)
    pictures = len(dataset.splits["validation"])
    assert (f"models/int8_static.onnx: gives NaN or infinity for 1 of {pictures} pictures"
            in refusal(evaluate.main))
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
