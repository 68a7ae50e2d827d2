import numpy as np
import pytest
import torch
from synthetic import make_dataset

from stages.training.loader import make_loader


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def seen(loader):
    """The pictures of all batches, as bytes, in their order."""
    return [picture.numpy().tobytes() for pictures, _ in loader for picture in pictures]


def stored(dataset, split):
    return [picture.tobytes() for picture in dataset.view(split)[:]]


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_without_a_generator_every_picture_comes_once_in_order(dataset, batch_size):
    loader = make_loader(dataset, "validation", batch_size)
    assert seen(loader) == stored(dataset, "validation")
    labels = torch.cat([labels for _, labels in loader])
    np.testing.assert_array_equal(labels, dataset.labels_of("validation"))


def test_shape_and_type(dataset):
    pictures, labels = next(iter(make_loader(dataset, "train", 8, seeded(0))))
    assert pictures.shape == (8, *dataset.images.shape[1:])
    assert (pictures.dtype, labels.dtype) == (torch.uint8, torch.int64)


def test_shuffled_pictures_keep_their_labels(dataset):
    label_of = dict(zip(stored(dataset, "train"), dataset.labels_of("train"), strict=True))
    for pictures, labels in make_loader(dataset, "train", 8, seeded(0)):
        for picture, label in zip(pictures, labels, strict=True):
            assert label_of[picture.numpy().tobytes()] == label


def test_shuffled_batches_are_whole_and_no_picture_comes_twice(dataset):
    loader = make_loader(dataset, "train", 8, seeded(0))
    sizes = [len(labels) for _, labels in loader]
    assert sizes == [8] * (len(dataset.splits["train"]) // 8)
    pictures = seen(loader)
    assert len(set(pictures)) == len(pictures)
    assert set(pictures) <= set(stored(dataset, "train"))


def test_order_is_fixed_by_the_seed(dataset):
    first = seen(make_loader(dataset, "train", 8, seeded(1)))
    torch.manual_seed(99)  # the global generator has no say
    assert seen(make_loader(dataset, "train", 8, seeded(1))) == first
    assert seen(make_loader(dataset, "train", 8, seeded(2))) != first
    assert first != stored(dataset, "train")[:len(first)]


def test_reads_from_a_mapped_file(tmp_path):
    mapped = make_dataset()
    np.save(tmp_path / "images.npy", mapped.images)
    mapped.images = np.load(tmp_path / "images.npy", mmap_mode="r")
    pictures, _ = next(iter(make_loader(mapped, "train", 4)))
    pictures.zero_()  # a batch is a copy: the file is left as it was
    assert seen(make_loader(mapped, "train", 4)) == stored(make_dataset(), "train")
