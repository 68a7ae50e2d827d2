"""The npm package's pictures become a zip that the project reads as an image folder."""

import json
import sys
import zipfile
from collections import Counter
from functools import partial

import numpy as np
import pytest
from PIL import Image
from refusals import refusal

from benchmarks import cifar10_as_png
from benchmarks.cifar10_as_png import CLASSES, FILES, SIDE, write_zip
from stages.data.imagefolder import read_imagefolder

IN_A_FILE = 12


@pytest.fixture
def package(tmp_path):
    """A package with twelve pictures in a file, labelled 0 to 9 in turn."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "package"
    folder.mkdir()
    for pictures, labels in FILES.values():
        for name in pictures:
            rows = rng.integers(0, 256, (IN_A_FILE, SIDE * SIDE, 3), dtype=np.uint8)
            Image.fromarray(rows).save(folder / name)
        (folder / labels).write_text(json.dumps(
            [position % len(CLASSES) for position in range(IN_A_FILE * len(pictures))]))
    return folder


def row(package, name, position):
    return np.asarray(Image.open(package / name))[position].reshape(SIDE, SIDE, 3)


def test_every_picture_is_there_without_loss(package, tmp_path, monkeypatch, capsys):
    target = tmp_path / "cifar10.zip"
    monkeypatch.setattr(sys, "argv", ["cifar10_as_png", str(package), str(target)])
    cifar10_as_png.main()
    assert capsys.readouterr().out == f"{target}: 72 pictures\n"
    with zipfile.ZipFile(target) as archive:
        assert archive.namelist() == sorted(archive.namelist())
        # Of the test split, positions 1 and 11 are cars.
        assert np.array_equal(np.asarray(Image.open(archive.open("test/automobile/0001.png"))),
                              row(package, "test_batch.png", 11))
        # Of the training split, positions 0, 10 and 20 are aeroplanes, the last in its second file.
        assert np.array_equal(np.asarray(Image.open(archive.open("train/airplane/0002.png"))),
                              row(package, "data_batch_2.png", 8))
    listing = read_imagefolder(target, SIDE)
    assert tuple(listing.classes) == CLASSES
    assert Counter(listing.is_test.tolist()) == {False: 60, True: 12}


def test_the_same_package_gives_the_same_bytes(package, tmp_path):
    for name in ("one.zip", "other.zip"):
        write_zip(package, tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()


def missing(package):
    (package / "data_batch_3.png").unlink()
    return "data_batch_3.png: no such file"


def too_few_labels(package):
    (package / "test_lables.json").write_text("[1, 2]")
    return "with a label each"


def a_label_of_no_class(package):
    (package / "test_lables.json").write_text(json.dumps([10] * IN_A_FILE))
    return "with a label each"


def no_picture(package):
    (package / "test_batch.png").write_bytes(b"no picture")
    return "with a label each"


def other_pictures(package):
    Image.new("RGB", (100, 100)).save(package / "test_batch.png")
    return "with a label each"


@pytest.mark.parametrize("damage", [missing, too_few_labels, a_label_of_no_class, no_picture,
                                    other_pictures])
def test_a_damaged_package_is_refused_and_nothing_is_left(damage, package, tmp_path):
    told = damage(package)
    target = tmp_path / "cifar10.zip"
    assert told in refusal(partial(write_zip, package, target))
    assert not list(tmp_path.glob("*.zip*"))
