"""The prepare stage: what it leaves, and what it refuses."""

import json
import logging

import numpy as np
import pytest
from archive_files import (
    cifar10_batch,
    encode,
    picture_files,
    pixels,
    python2_pickle,
    write_params,
    write_tar,
    write_zip,
)
from refusals import refusal

from stages import prepare
from stages.data.dataset import load_dataset
from stages.prepare import main

pytestmark = pytest.mark.filterwarnings("error")  # a user would read it beside the line of error

PETS = picture_files("cat", "dog", count=12)


@pytest.fixture
def archive(tmp_path, monkeypatch, caplog):
    """The path of the archive, in a working folder that has parameters."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "stages")
    write_params(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "archive"


AGAIN = "'dvc repro --force download', or 'dvc exp run --force download' with your options)"


def assert_refused(archive, *told):
    """The stage ends with one line that tells `told`, and leaves no output behind."""
    before = sorted(archive.parent.iterdir())
    message = refusal(main)
    for part in told:
        assert part in message
    assert sorted(archive.parent.iterdir()) == before


def test_calibration_that_leaves_less_to_train_on_than_it_takes_is_told(archive, caplog):
    write_zip(archive, PETS)
    write_params(archive.parent.parent, calibration_size=10)
    main()
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.getMessage() == (
        "data.calibration_size: 10 pictures are held out of train, which leaves it 4; lower it")


def test_pictures_become_one_array_file_and_splits(archive, caplog):
    write_zip(archive, PETS)
    main()
    assert "pets: 2 classes, 10 train, 4 validation, 6 test, 4 calibration" in caplog.text
    assert sorted(path.name for path in archive.parent.iterdir()) == [
        "archive", "images.npy", "splits.json"]
    dataset = load_dataset(archive.parent / "images.npy", archive.parent / "splits.json")
    assert dataset.classes == ["cat", "dog"]
    assert dataset.labels.tolist() == [0] * 12 + [1] * 12
    stored = {picture.tobytes() for picture in dataset.images}
    assert stored == {pixels(100 * place + number).tobytes()
                      for place in range(2) for number in range(12)}


def test_a_run_that_is_stopped_leaves_the_old_file(archive, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    write_zip(archive, PETS)
    images = archive.parent / "images.npy"
    images.write_bytes(b"old")
    monkeypatch.setattr(prepare, "check_copies", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare.main()
    assert sorted(path.name for path in archive.parent.iterdir()) == ["archive", "images.npy"]
    assert images.read_bytes() == b"old"


def test_cifar10_keeps_its_test_split(archive):
    write_params(archive.parent.parent, name="cifar10", format="cifar10", resolution=32)
    labels = [0, 1] * 4
    names = ["test_batch", *(f"data_batch_{number}" for number in range(1, 6))]
    batches = {name: np.stack([pixels(8 * place + seed, 32, 32) for seed in range(8)])
               for place, name in enumerate(names)}
    files = {f"cifar-10-batches-py/{name}": python2_pickle(cifar10_batch(images, labels))
             for name, images in batches.items()}
    files["cifar-10-batches-py/batches.meta"] = python2_pickle({"label_names": ["up", "down"]})
    write_tar(archive, files)
    main()
    splits = json.loads((archive.parent / "splits.json").read_text())["splits"]
    assert splits["test"] == list(range(40, 48))
    dataset = load_dataset(archive.parent / "images.npy", archive.parent / "splits.json")
    np.testing.assert_array_equal(dataset.view("test")[:], batches["test_batch"])


def test_a_copy_of_a_test_picture_among_those_for_calibration_is_refused(archive):
    write_zip(archive, {**{f"train/{name}": content for name, content in PETS.items()},
                        **{f"test/{name}": content for name, content in PETS.items()}})
    assert_refused(archive, "4 of 4 calibration pictures are in the test split too (the first, ",
                   "decodes to the same as test/", "remove the copies from the source", AGAIN)


def test_a_truncated_archive_is_refused(archive):
    write_tar(archive, PETS)
    archive.write_bytes(archive.read_bytes()[:-3000])
    assert_refused(archive, "data/archive", "cut off", AGAIN)


def test_too_few_pictures_are_refused(archive):
    write_zip(archive, picture_files("cat", "dog", count=3))
    assert_refused(archive, "split 'validation' would have 1 pictures for 2 classes", AGAIN)


def test_a_missing_archive_is_refused_with_what_to_run(archive):
    assert_refused(archive, "data/archive: no such file; run 'dvc repro download'")


def test_an_unreadable_picture_is_named_and_the_old_outputs_stay(archive):
    (archive.parent / "images.npy").write_bytes(b"old")
    (archive.parent / "splits.json").write_text("old")
    write_zip(archive, {**PETS, "dog/sick.png": encode(pixels())[:50]})
    assert_refused(archive, "data/archive: dog/sick.png: can't be read as a picture")
    assert (archive.parent / "images.npy").read_bytes() == b"old"
    assert (archive.parent / "splits.json").read_text() == "old"
