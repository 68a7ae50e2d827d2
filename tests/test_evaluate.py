from pathlib import Path

import numpy as np
import pytest

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
