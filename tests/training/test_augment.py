import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from synthetic import random_pictures

from stages.training.augment import GRAY, augment


def run(pictures, crop_padding, horizontal_flip, seed=0, cutout=0):
    return augment(torch.from_numpy(pictures), crop_padding=crop_padding,
                   horizontal_flip=horizontal_flip, cutout=cutout,
                   generator=torch.Generator().manual_seed(seed)).numpy()


def windows(picture, crop_padding):
    """Every window of the reflected picture, by NumPy's own reflection: (top, left) to pixels."""
    height, width, _ = picture.shape
    padded = np.pad(picture, [(crop_padding, crop_padding)] * 2 + [(0, 0)], mode="reflect")
    return {(top, left): padded[top:top + height, left:left + width].tobytes()
            for top in range(2 * crop_padding + 1) for left in range(2 * crop_padding + 1)}


@given(height=st.integers(4, 9), width=st.integers(4, 9), crop_padding=st.integers(0, 3),
       horizontal_flip=st.booleans(), seed=st.integers(0, 2**32))
def test_every_output_is_a_window_of_the_reflected_picture(height, width, crop_padding,
                                                           horizontal_flip, seed):
    pictures = random_pictures(3, height, width, seed)
    changed = run(pictures, crop_padding, horizontal_flip, seed)
    assert changed.dtype == np.uint8
    assert changed.shape == pictures.shape
    for before, after in zip(pictures, changed, strict=True):
        allowed = set(windows(before, crop_padding).values())
        if horizontal_flip:
            allowed |= set(windows(before[:, ::-1], crop_padding).values())
        assert after.tobytes() in allowed


def test_parts_of_a_batch_are_changed_as_the_whole_is():
    pictures = torch.from_numpy(random_pictures(12, 9, 7))

    def changed(part, share):
        return augment(part, crop_padding=2, horizontal_flip=True, cutout=3, share=share,
                       generator=torch.Generator().manual_seed(5))

    parts = [changed(part, (index, 3)) for index, part in enumerate(pictures.split(4))]
    assert torch.equal(torch.cat(parts), changed(pictures, (0, 1)))


def test_all_shifts_and_both_sides_come_equally_often():
    count, crop_padding = 6000, 1
    picture = random_pictures(1, 5, 5)
    changed = run(np.repeat(picture, count, axis=0), crop_padding, True)
    seen = {}
    for after in changed:
        seen[after.tobytes()] = seen.get(after.tobytes(), 0) + 1
    expected = count / 18  # nine shifts, mirrored or not
    assert len(seen) == 18
    assert all(abs(number - expected) < 5 * np.sqrt(expected) for number in seen.values())


def test_pictures_of_a_batch_are_shifted_and_mirrored_apart():
    changed = run(np.repeat(random_pictures(1, 8, 8), 20, axis=0), 2, True)
    assert len({after.tobytes() for after in changed}) > 5


def test_no_op_with_zero_settings():
    pictures = random_pictures(6, 8, 8)
    np.testing.assert_array_equal(run(pictures, 0, False), pictures)


def test_flip_alone_mirrors_left_and_right():
    pictures = random_pictures(40, 6, 7)
    changed = run(pictures, 0, True)
    mirrored = [after.tobytes() == before[:, ::-1].tobytes()
                for before, after in zip(pictures, changed, strict=True)]
    same = [after.tobytes() == before.tobytes()
            for before, after in zip(pictures, changed, strict=True)]
    assert all(one != other for one, other in zip(mirrored, same, strict=True))
    assert 8 < sum(mirrored) < 32


@pytest.mark.parametrize(("crop_padding", "horizontal_flip"), [(2, False), (0, True), (3, True)])
def test_seed_decides(crop_padding, horizontal_flip):
    pictures = random_pictures(30, 8, 8)
    before = pictures.copy()
    first = run(pictures, crop_padding, horizontal_flip, seed=1)
    torch.manual_seed(99)  # the global generator has no say
    np.testing.assert_array_equal(run(pictures, crop_padding, horizontal_flip, seed=1), first)
    assert (run(pictures, crop_padding, horizontal_flip, seed=2) != first).any()
    np.testing.assert_array_equal(pictures, before)


@given(height=st.integers(4, 9), width=st.integers(4, 9), cutout=st.integers(1, 12),
       seed=st.integers(0, 2**32))
def test_cutout_grays_a_square_and_leaves_the_rest(height, width, cutout, seed):
    pictures = random_pictures(4, height, width, seed)
    pictures[pictures == GRAY] = 0
    for before, after in zip(pictures, run(pictures, 0, False, seed, cutout), strict=True):
        gray = (after == GRAY).all(2)
        rows, columns = np.flatnonzero(gray.any(1)), np.flatnonzero(gray.any(0))
        assert gray.sum() == len(rows) * len(columns)  # a full rectangle
        for positions, side in ((rows, height), (columns, width)):
            assert (np.diff(positions) == 1).all()
            at_edge = positions[0] == 0 or positions[-1] == side - 1
            assert len(positions) == cutout or (at_edge and len(positions) < cutout)
        np.testing.assert_array_equal(after[~gray], before[~gray])


def test_cutout_lies_elsewhere_in_each_picture_of_a_batch():
    changed = run(np.zeros((50, 8, 8, 3), np.uint8), 0, False, cutout=2)
    assert len({after.tobytes() for after in changed}) > 20
