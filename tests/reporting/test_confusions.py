import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.data.dataset import Dataset
from stages.reporting.confusions import (
    THUMBNAIL,
    are_of_one_run,
    class_drops,
    confused_pairs,
    mistakes,
    picture_uri,
    with_examples,
)

CLASSES = ["a", "b", "c"]
TABLE = pd.DataFrame({"actual": [*"aaaabbcc"], "predicted": [*"abbcbccb"]})
REFERENCE = pd.DataFrame({"actual": [*"aaaabbcc"], "predicted": [*"abaabccc"]})


def pair(actual, predicted, pictures, reference):
    return {"actual": actual, "predicted": predicted, "pictures": pictures,
            "reference": reference}


def test_confused_pairs_by_hand():
    assert confused_pairs(TABLE, REFERENCE, 9) == [
        pair("a", "b", 2, 1), pair("a", "c", 1, 0), pair("b", "c", 1, 1), pair("c", "b", 1, 0)]
    assert confused_pairs(TABLE, REFERENCE, 1) == [pair("a", "b", 2, 1)]


def test_mistakes_are_of_the_test_split_and_surest_first():
    table = pd.DataFrame({"split": ["validation", "test", "test", "test", "test"],
                          "position": [0, 4, 3, 2, 1], "label": [0, 1, 1, 2, 0],
                          "predicted": [1, 0, 1, 0, 2], "confidence": [0.9, 0.5, 0.8, 0.7, 0.7]})
    reference = table.assign(predicted=[0, 1, 1, 0, 1]).sample(frac=1, random_state=0)
    assert mistakes(table, reference).to_dict("list") == {
        "position": [1, 2, 4], "label": [0, 2, 1], "predicted": [2, 0, 0],
        "confidence": [0.7, 0.7, 0.5], "reference": [1, 0, 1]}


def test_no_pairs_without_mistakes():
    right = pd.DataFrame({"actual": CLASSES, "predicted": CLASSES})
    assert confused_pairs(right, TABLE, 9) == []


BY_CLASS = {"int8": {"a": 0.9, "b": 0.4, "c": 1.0}, "float": {"a": 0.9, "b": 0.8, "c": 0.95},
            "other": {"a": 0.0, "b": 0.8, "c": 0.95}}


def test_class_drops_by_hand():
    rows = class_drops(BY_CLASS, "float", "int8", 9)
    assert [row["class"] for row in rows] == ["b", "a", "c"]
    assert [row["reference"] for row in rows] == [0.8, 0.9, 0.95]
    assert rows[0]["drops"] == {"int8": pytest.approx(40), "other": 0}
    assert rows[1]["drops"] == {"int8": 0, "other": pytest.approx(90)}
    assert rows[2]["drops"]["int8"] == pytest.approx(-5)


def test_classes_that_lose_most_are_kept():
    assert [row["class"] for row in class_drops(BY_CLASS, "float", "other", 1)] == ["a"]


def test_class_drops_when_the_reference_is_selected():
    assert [row["class"] for row in class_drops(BY_CLASS, "float", "float", 9)] == CLASSES


@pytest.fixture
def dataset():
    images = np.zeros((8, 4, 4, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(8)
    return Dataset("letters", CLASSES, images, np.array([0, 0, 0, 0, 1, 1, 2, 2]),
                   {"test": np.arange(8)})


@pytest.fixture
def wrong():
    """The mistakes of TABLE, against REFERENCE."""
    return pd.DataFrame({"position": [2, 1, 3, 5, 7], "label": [0, 0, 0, 1, 2],
                         "predicted": [1, 1, 2, 2, 1], "confidence": [0.9, 0.8, 0.7, 0.6, 0.5],
                         "reference": [0, 1, 0, 2, 2]})


def position_in(uri):
    content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(content)))[0, 0, 0]


def test_examples_are_the_pictures_of_their_pair(dataset, wrong):
    pairs = with_examples(confused_pairs(TABLE, REFERENCE, 9), wrong, dataset, 9)
    assert [[position_in(example["uri"]) for example in entry["examples"]]
            for entry in pairs] == [[2, 1], [3], [5], [7]]
    assert [example["lost"] for example in pairs[0]["examples"]] == [True, False]
    assert [example["confidence"] for example in pairs[0]["examples"]] == [0.9, 0.8]
    assert pairs[0]["pictures"] == 2


def test_surest_examples_are_kept(dataset, wrong):
    first = with_examples(confused_pairs(TABLE, REFERENCE, 1), wrong, dataset, 1)[0]
    assert [position_in(example["uri"]) for example in first["examples"]] == [2]


def test_mistakes_of_one_run(dataset, wrong):
    assert are_of_one_run(wrong, dataset, TABLE)


@pytest.mark.parametrize("change", [
    lambda wrong, dataset: wrong.__setitem__("predicted", [1, 1, 1, 2, 1]),
    lambda wrong, dataset: wrong.__setitem__("position", [2, 1, 3, 5, 8]),
    lambda wrong, dataset: wrong.__setitem__("position", [2, 1, 4, 5, 7]),
    lambda wrong, dataset: dataset.classes.__setitem__(slice(None), ["x", "y", "z"]),
    lambda wrong, dataset: dataset.classes.pop()],
    ids=["another class", "no such picture", "another picture", "other names", "fewer classes"])
def test_mistakes_of_another_run(dataset, wrong, change):
    dataset.classes = list(CLASSES)
    change(wrong, dataset)
    assert not are_of_one_run(wrong, dataset, TABLE)


def test_fewer_mistakes_are_of_another_run(dataset, wrong):
    dataset.classes = list(CLASSES)
    assert are_of_one_run(wrong, dataset, TABLE)
    assert not are_of_one_run(wrong[1:], dataset, TABLE)


def test_no_mistakes_are_of_one_run(dataset, wrong):
    right = pd.DataFrame({"actual": CLASSES, "predicted": CLASSES})
    assert are_of_one_run(wrong[:0], dataset, right)
    assert not are_of_one_run(wrong[:0], dataset, TABLE)


@pytest.mark.parametrize(("shape", "shown"), [
    ((8, 8, 3), (8, 8)), ((400, 200, 3), (THUMBNAIL // 2, THUMBNAIL))])
def test_pictures_are_no_larger_than_needed(shape, shown):
    content = base64.b64decode(picture_uri(np.zeros(shape, np.uint8)).partition(",")[2])
    assert Image.open(io.BytesIO(content)).size == shown
