import hashlib

import numpy as np
import pytest
from tiny_model import write_deployed

from stages.deployment.golden import (
    TOLERANCE_FLOAT,
    TOLERANCE_INT8,
    golden_pictures,
    golden_problem,
    golden_sizes,
    relative_error,
)
from stages.deployment.runtime import load_deployed

SIZES = golden_sizes(8, 17)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_deployed(tmp_path_factory.mktemp("golden") / "deploy.onnx")


def test_sizes_are_as_stored_as_seen_shrunk_and_stretched():
    assert sorted(set(map(tuple, SIZES))) == [(8, 8), (9, 26), (17, 17), (26, 17)]
    assert len(SIZES) == 8


def test_pictures_are_the_same_everywhere():
    pictures = golden_pictures(SIZES)
    assert [picture.shape for picture in pictures] == [(1, *size, 3) for size in SIZES]
    assert len({picture.tobytes() for picture in pictures}) == len(SIZES)
    first = hashlib.shake_256(b"golden 0 8 8").digest(48)
    assert pictures[0][0, 0, 0].tolist() == pictures[0][0, 1, 1].tolist() == list(first[:3])
    assert pictures[0][0, 7, 7].tolist() == list(first[-3:])


def test_good_model_has_no_problem(path):
    assert golden_problem(load_deployed(path)) is None


@pytest.mark.parametrize(("kind", "tolerance"), [
    ("float", TOLERANCE_FLOAT), ("static", TOLERANCE_INT8)])
def test_tolerance_is_kept_and_held(tmp_path, kind, tolerance):
    model = load_deployed(write_deployed(tmp_path / "deploy.onnx", kind))
    logits = np.array(model.metadata["golden"]["logits"])
    assert model.metadata["golden"]["tolerance"] == tolerance
    for share, good in ((0.9, True), (1.1, False)):
        off = logits + share * tolerance * logits.std()
        model.metadata["golden"]["logits"] = off.tolist()
        assert (golden_problem(model) is None) is good, share


@pytest.mark.parametrize(("change", "told"), [
    ({"logits": [[float("nan")] * 3] * 8}, "off by nan"), ({"logits": [[1.0]]}, "answers where"),
    ({"logits": "none"}, "can't be used"), ({"sizes": [["a", 1]]}, "can't be used"),
    ({"sizes": [[4, 4], [5, 5]]}, "answers where")])
def test_unusable_answers(path, change, told):
    model = load_deployed(path)
    model.metadata["golden"].update(change)
    assert told in golden_problem(model)


def test_relative_error_by_hand():
    expected = np.array([[1.0, -1.0], [1.0, -1.0]], dtype=np.float32)
    assert relative_error(expected, expected) == 0
    assert relative_error(expected, expected + 0.5) == pytest.approx(0.5)
