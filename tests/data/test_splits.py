"""Splits are disjoint, complete, stratified, seeded and sorted, or there is one line why not."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from refusals import refusal
from synthetic import random_pictures

from stages.config.errors import UserError
from stages.data.splits import SPLIT_NAMES, check_copies, split

SETTINGS = {"validation_fraction": 0.2, "test_fraction": 0.25, "calibration_size": 6, "seed": 0}


def labels_of(*counts):
    """Labels of `counts` pictures by class, in a mixed order."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(0).permutation(labels)


def names_of(count):
    return [f"class {number}" for number in range(count)]


def split_counts(*counts, is_test=None, **changed):
    return split(labels_of(*counts), is_test, names_of(len(counts)), **{**SETTINGS, **changed})


@st.composite
def cases(draw):
    """Labels, a test split or None, and the settings of the splits."""
    counts = draw(st.lists(st.integers(8, 60), min_size=2, max_size=5))
    labels = draw(st.randoms(use_true_random=False).map(
        lambda random: np.array(random.sample(list(np.repeat(np.arange(len(counts)), counts)),
                                              sum(counts)))))
    is_test = None
    if draw(st.booleans()):
        is_test = np.zeros(len(labels), bool)
        for number in range(len(counts)):
            of_class = np.flatnonzero(labels == number)
            is_test[of_class[:draw(st.integers(1, len(of_class) // 2))]] = True
    return labels, is_test, {"validation_fraction": draw(st.floats(0.1, 0.5)),
                             "test_fraction": draw(st.floats(0.1, 0.5)),
                             "calibration_size": draw(st.integers(2, 20)),
                             "seed": draw(st.integers(0, 2**31 - 1))}


def assert_stratified(labels, drawn, pool, size):
    """`drawn` has `size` of `pool`, and of each class its share, give or take one picture."""
    assert len(drawn) == size
    for number in np.unique(labels):
        share = size * np.sum(labels[pool] == number) / len(pool)
        assert abs(np.sum(labels[drawn] == number) - share) < 1 + 1e-9


@settings(max_examples=100)
@given(case=cases())
def test_splits_are_disjoint_complete_stratified_sorted_and_repeatable(case):
    labels, is_test, options = case
    classes = names_of(labels.max() + 1)
    try:
        parts = split(labels, is_test, classes, **options)
    except UserError:
        assume(False)
    assert tuple(parts) == SPLIT_NAMES
    everything = np.concatenate(list(parts.values()))
    np.testing.assert_array_equal(np.sort(everything), np.arange(len(labels)))
    for name, part in parts.items():
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
        if name != "calibration":
            assert set(labels[part]) == set(range(len(classes)))

    pool = np.arange(len(labels))
    if is_test is None:
        assert_stratified(labels, parts["test"], pool, round(options["test_fraction"] * len(pool)))
    else:
        np.testing.assert_array_equal(parts["test"], np.flatnonzero(is_test))
    pool = np.setdiff1d(pool, parts["test"])
    assert_stratified(labels, parts["validation"], pool,
                      round(options["validation_fraction"] * len(pool)))
    pool = np.setdiff1d(pool, parts["validation"])
    if (size := options["calibration_size"]) >= len(classes):
        assert_stratified(labels, parts["calibration"], pool, size)
    else:
        assert len(parts["calibration"]) == size

    again = split(labels, is_test, classes, **options)
    for name, part in parts.items():
        np.testing.assert_array_equal(again[name], part)


def test_another_seed_draws_other_pictures():
    first, second = (split_counts(100, 100, seed=seed) for seed in (0, 1))
    for name in SPLIT_NAMES:
        assert len(first[name]) == len(second[name])
        assert not np.array_equal(first[name], second[name])


def test_a_given_test_split_is_kept_whatever_the_seed_and_share():
    is_test = np.arange(200) % 7 == 0
    for seed, share in [(0, 0.1), (1, 0.5)]:
        parts = split_counts(100, 100, is_test=is_test, seed=seed, test_fraction=share)
        np.testing.assert_array_equal(parts["test"], np.flatnonzero(is_test))


def test_fractions_are_of_all_and_then_of_what_is_left():
    parts = split_counts(100, 100, test_fraction=0.5, validation_fraction=0.3)
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 64, "validation": 30, "test": 100, "calibration": 6}


@pytest.mark.parametrize(("counts", "changed", "told"), [
    ((50, 1), {}, "class 'class 1' has 1 pictures left for train and test"),
    ((50, 0, 50), {}, "class 'class 1' has 0 pictures left for train and test"),
    ((2, 50), {"test_fraction": 0.5}, "class 'class 0' has 1 pictures left for train and valid"),
    ((3, 50), {"test_fraction": 0.5, "validation_fraction": 0.5}, "class 'class 0'"),
    ((5, 5), {"test_fraction": 0.05}, "split 'test' would have 0 pictures for 2 classes"),
    ((9, 9, 9), {"validation_fraction": 0.1}, "split 'validation' would have 2 pictures for 3"),
    ((9, 9, 9), {"validation_fraction": 0.1}, "raise data.validation_fraction or add pictures"),
    ((20, 20), {"calibration_size": 100}, "split 'calibration' wants 100 of 24 pictures"),
    ((20, 20), {"calibration_size": 100}, "lower data.calibration_size or add pictures"),
    ((20, 20), {"calibration_size": 23}, "split 'calibration' wants 23 of 24 pictures"),
    ((500, 3), {"test_fraction": 0.01}, "class 'class 1' has too few pictures (3) to stand in "
                                        "split 'test'"),
    ((500, 3), {"test_fraction": 0.01}, "add pictures or raise data.test_fraction"),
    ((400, 4), {"calibration_size": 240}, "to stand in what is left to train on"),
    ((400, 4), {"calibration_size": 240}, "add pictures or lower data.calibration_size"),
])
def test_fewer_pictures_than_a_split_needs_are_refused(counts, changed, told):
    assert told in refusal(split_counts, *counts, **changed)


@pytest.mark.parametrize("counts", [(500, 20), (10,) * 200], ids=["a rare class", "many classes"])
def test_calibration_does_without_classes_it_has_no_room_for(counts):
    parts = split_counts(*counts, calibration_size=5)
    labels = labels_of(*counts)
    assert len(parts["calibration"]) == 5
    assert len(set(labels[parts["calibration"]])) < len(counts)
    for name in ("train", "validation", "test"):
        assert len(set(labels[parts[name]])) == len(counts)
    everything = np.concatenate(list(parts.values()))
    np.testing.assert_array_equal(np.sort(everything), np.arange(len(labels)))


def test_a_class_that_a_given_split_lacks_in_train_is_refused():
    labels = labels_of(50, 50)
    message = refusal(split, labels, labels == 1, names_of(2), **SETTINGS)
    assert "class 'class 1' has 0 pictures left for train and validation" in message


def test_a_class_that_a_given_test_split_lacks_is_refused():
    labels = labels_of(50, 50)
    is_test = (labels == 1) & (np.arange(100) >= 50)
    message = refusal(split, labels, is_test, names_of(2), **SETTINGS)
    assert "class 'class 0' has no picture in the test split" in message


def pictures_with(*copies):
    """Twelve pictures of which `copies` are (position, position of the original)."""
    images = random_pictures(12, 4, 4)
    for position, original in copies:
        images[position] = images[original]
    return images


PARTS = {"train": np.arange(4), "validation": np.arange(4, 6), "test": np.arange(6, 9),
         "calibration": np.arange(9, 12)}


def test_a_calibration_picture_that_copies_one_of_test_is_refused_by_number():
    message = refusal(check_copies, pictures_with((10, 7), (11, 6)), PARTS)
    assert "2 of 3 calibration pictures" in message
    assert "(the first, picture 10, decodes to the same as picture 7)" in message


def test_a_calibration_picture_that_copies_one_of_test_is_refused_by_name():
    names = [f"cat/{position}.jpg" for position in range(12)]
    message = refusal(check_copies, pictures_with((10, 7)), PARTS, names)
    assert "(the first, cat/10.jpg, decodes to the same as cat/7.jpg)" in message


def test_copies_elsewhere_are_none_of_calibrations_business():
    check_copies(pictures_with((10, 0), (5, 7), (11, 9)), PARTS)
    almost = pictures_with((10, 7))
    almost[10, 0, 0, 0] ^= 1
    check_copies(almost, PARTS)


def test_copies_of_test_pictures_to_train_on_are_told(caplog):
    check_copies(pictures_with((0, 6), (3, 7), (5, 7)), PARTS)
    assert caplog.messages == [
        "2 of 4 train pictures are in the test split too (the first, picture 0, decodes to the "
        "same as picture 6): accuracy on it is flattered",
        "1 of 2 validation pictures are in the test split too (the first, picture 5, decodes to "
        "the same as picture 7): accuracy on it is flattered"]
    caplog.clear()
    check_copies(pictures_with((1, 0), (4, 0), (8, 7)), PARTS)
    assert caplog.messages == [], "copies within a split, or of what is not test"


def test_the_least_that_is_enough_is_accepted():
    parts = split_counts(5, 5, test_fraction=0.2, validation_fraction=0.25, calibration_size=2)
    assert [len(parts[name]) for name in SPLIT_NAMES] == [4, 2, 2, 2]
