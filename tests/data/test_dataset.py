"""What prepare writes is what the later stages load."""

import json

import numpy as np
import pytest
from archive_files import pixels
from refusals import refusal

from stages.data.dataset import evenly, load_dataset, write_images, write_splits
from stages.data.listing import Listing

IMAGES = np.stack([pixels(seed, 8, 8) for seed in range(5)])
SPLITS = {"train": np.array([1, 4]), "validation": np.array([0]), "test": np.array([3]),
          "calibration": np.array([2])}


def listing(pictures):
    return Listing(["a", "b"], np.array([0, 1, 0, 1, 0]), None, iter(pictures))


def write(folder, pictures):
    made = listing(pictures)
    (folder / "data").mkdir(parents=True)
    write_images(made, 8, folder / "data" / "images.npy")
    write_splits("name", made, SPLITS, folder / "data" / "splits.json")
    return load_dataset(folder / "data" / "images.npy", folder / "data" / "splits.json")


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 0, 4, 2, 1]])
def test_pictures_come_back_in_their_places(tmp_path, order):
    dataset = write(tmp_path, [(position, IMAGES[position]) for position in order])
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert dataset.images.dtype == np.uint8
    assert isinstance(dataset.images, np.memmap)
    assert dataset.labels.dtype == np.int64
    assert dataset.labels.tolist() == [0, 1, 0, 1, 0]
    assert (dataset.name, dataset.classes) == ("name", ["a", "b"])
    assert {name: part.tolist() for name, part in dataset.splits.items()} == {
        name: part.tolist() for name, part in SPLITS.items()}


def test_a_split_has_its_pictures_and_labels(tmp_path):
    dataset = write(tmp_path, enumerate(IMAGES))
    np.testing.assert_array_equal(dataset.view("train")[:], IMAGES[[1, 4]])
    assert dataset.labels_of("train").tolist() == [1, 0]


def test_a_view_reads_what_is_sliced(tmp_path):
    view = write(tmp_path, enumerate(IMAGES)).view("train")
    assert len(view) == 2
    np.testing.assert_array_equal(view[1], IMAGES[4])
    np.testing.assert_array_equal(view[0:1], IMAGES[[1]])
    np.testing.assert_array_equal(view[1:9], IMAGES[[4]])


def test_the_files_are_the_same_every_time(tmp_path):
    for name in ("1", "2"):
        write(tmp_path / name, enumerate(IMAGES))
    for file in ("images.npy", "splits.json"):
        assert (tmp_path / "1" / "data" / file).read_bytes() == \
            (tmp_path / "2" / "data" / file).read_bytes()
    content = json.loads((tmp_path / "1" / "data" / "splits.json").read_text())
    assert content["splits"]["train"] == [1, 4]


@pytest.mark.parametrize("resolution", [4, 9, 16])
def test_another_resolution_is_refused(tmp_path, resolution):
    message = refusal(write_images, listing(enumerate(IMAGES)), resolution,
                      tmp_path / "images.npy")
    assert f"data.resolution: got {resolution}, but these pictures come as 8 by 8" in message


@pytest.mark.parametrize("missing", ["images.npy", "splits.json"])
def test_a_missing_file_is_refused_with_what_to_run(tmp_path, missing):
    write(tmp_path, enumerate(IMAGES))
    (tmp_path / "data" / missing).unlink()
    message = refusal(load_dataset, tmp_path / "data" / "images.npy",
                      tmp_path / "data" / "splits.json")
    assert missing in message
    assert "dvc repro prepare" in message


@pytest.mark.parametrize(("count", "positions"), [
    (1, [0]), (2, [0, 9]), (4, [0, 3, 6, 9]), (10, range(10)), (50, range(10))])
def test_evenly_takes_from_the_whole_length(count, positions):
    assert evenly(np.arange(10) * 2, count).tolist() == [2 * position for position in positions]


def with_splits(**changes):
    def damage(images, splits):
        splits.write_text(json.dumps({**json.loads(splits.read_text()), **changes}))
    return damage


ONE_EACH = {key: [0] for key in SPLITS}
DAMAGE = {
    "cut array": lambda images, splits: images.write_bytes(images.read_bytes()[:200]),
    "empty array": lambda images, splits: images.write_bytes(b""),
    "text": lambda images, splits: images.write_bytes(b"text"),
    "floats": lambda images, splits: np.save(images, np.load(images).astype(np.float32)),
    "grey": lambda images, splits: np.save(images, np.load(images)[..., 0]),
    "empty splits": lambda images, splits: splits.write_text(""),
    "no object": lambda images, splits: splits.write_text("[]"),
    "no keys": lambda images, splits: splits.write_text("{}"),
    "no text": lambda images, splits: splits.write_bytes(b"\xff"),
    "few labels": with_splits(labels=[0, 1]),
    "other labels": with_splits(labels=[0, 1, 2, 1, 0]),
    "far positions": with_splits(splits=ONE_EACH | {"train": [5]}),
    "empty split": with_splits(splits=ONE_EACH | {"train": []}),
    "no test split": with_splits(splits={"train": [0], "validation": [0], "calibration": [0]}),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_prepare_did_not_write_is_refused(tmp_path, damage):
    write(tmp_path, enumerate(IMAGES))
    paths = tmp_path / "data" / "images.npy", tmp_path / "data" / "splits.json"
    damage(*paths)
    assert refusal(load_dataset, *paths).endswith("run 'dvc repro --force prepare'")
