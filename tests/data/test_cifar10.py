"""CIFAR-10's archive gives its pictures, and a pickle in it runs nothing."""

import builtins
import os
import pickle
import subprocess

import numpy as np
import pytest
from archive_files import cifar10_batch, python2_pickle, write_tar, write_zip
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refusal

from stages.config.errors import UserError
from stages.data.cifar10 import load_batch, read_cifar10

CLASSES = ["airplane", "automobile", "bird"]
NAMES = [f"cifar-10-batches-py/{name}" for name in
         ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5",
          "test_batch")]
META = "cifar-10-batches-py/batches.meta"
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 32, 32, 3), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 3, (6, 4))


def python3_pickle(value):
    return pickle.dumps(value, 2)


def batches():
    """The content of each batch file, to be pickled."""
    meta = {"num_cases_per_batch": 4, "label_names": CLASSES, "num_vis": 3072}
    return {**{name: cifar10_batch(images, labels.tolist())
               for name, images, labels in zip(NAMES, IMAGES, LABELS, strict=True)}, META: meta}


def pickled(content, dump=python2_pickle):
    return {name: dump(value) for name, value in content.items()}


@pytest.mark.parametrize("dump", [python2_pickle, python3_pickle])
@pytest.mark.parametrize("reverse", [False, True], ids=["in order", "in reverse order"])
def test_pixels_and_labels_come_back(tmp_path, dump, reverse):
    files = list(pickled(batches(), dump).items())
    path = write_tar(tmp_path / "archive", {"cifar-10-batches-py/": b"",
                                            **dict(files[::-1] if reverse else files),
                                            "cifar-10-batches-py/readme.html": b"<html>"})
    listing = read_cifar10(path)
    assert listing.classes == CLASSES
    assert listing.labels.dtype == np.int64
    np.testing.assert_array_equal(listing.labels, LABELS.ravel())
    np.testing.assert_array_equal(listing.is_test, [False] * 20 + [True] * 4)
    pictures = dict(listing.pictures)
    assert sorted(pictures) == list(range(24))
    for position, expected in enumerate(IMAGES.reshape(24, 32, 32, 3)):
        assert pictures[position].dtype == np.uint8
        np.testing.assert_array_equal(pictures[position], expected)


def test_a_batch_has_the_rows_of_the_description():
    """The first 1,024 bytes of a row are the red channel, by rows of 32."""
    row = cifar10_batch(IMAGES[0], [0] * 4)["data"][1]
    assert row[1024 + 32 * 5 + 7] == IMAGES[0, 1, 5, 7, 1]


def test_an_archive_that_is_cut_off_is_refused(tmp_path):
    path = write_tar(tmp_path / "archive", pickled(batches()))
    path.write_bytes(path.read_bytes()[:-1000])
    assert "cut off" in refusal(read_cifar10, path)


@pytest.mark.parametrize("name", [NAMES[0], NAMES[4], NAMES[5], META])
def test_a_missing_batch_is_named(tmp_path, name):
    files = pickled(batches())
    del files[name]
    message = refusal(read_cifar10, write_tar(tmp_path / "archive", files))
    assert f"lacks {name};" in message


def test_another_archive_is_refused(tmp_path):
    message = refusal(read_cifar10, write_zip(tmp_path / "archive", {"cat/1.png": b"1"}))
    assert NAMES[0] in message


@pytest.mark.parametrize(("name", "key", "value"), [
    (NAMES[0], "labels", [0, 1, 2]), (NAMES[0], "labels", [0, 1, 2, 3]),
    (NAMES[5], "labels", [0, 1, 2, -1]), (NAMES[0], "labels", [[0], [1], [2], [0]]),
    (NAMES[0], "labels", ["cat"] * 4), (NAMES[0], "labels", [10**30] * 4),
    (NAMES[0], "labels", None), (NAMES[0], "data", IMAGES[0, 0]),
    (NAMES[0], "data", IMAGES[0].reshape(4, -1)[:, :-1].copy()), (NAMES[0], "data", [[300] * 3072]),
    (NAMES[0], "data", "pixels"), (META, "label_names", 3), (META, "label_names", CLASSES[:1]),
])
def test_a_malformed_batch_is_refused(tmp_path, name, key, value):
    content = batches()
    content[name][key] = value
    message = refusal(read_cifar10, write_tar(tmp_path / "archive", pickled(content)))
    assert str(tmp_path / "archive") in message


@pytest.mark.parametrize("key", ["labels", "data"])
def test_a_batch_without_a_key_is_refused(tmp_path, key):
    content = batches()
    del content[NAMES[3]][key]
    assert key in refusal(read_cifar10, write_tar(tmp_path / "archive", pickled(content)))


class Call:
    """Pickled, it asks the reader to call `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("make", [
    lambda file: Call(os.system, f"touch '{file}'"),
    lambda file: Call(builtins.eval, f"open({str(file)!r}, 'w')"),
    lambda file: Call(builtins.exec, f"open({str(file)!r}, 'w')"),
    lambda file: Call(builtins.open, str(file), "w"),
    lambda file: Call(subprocess.call, ["touch", str(file)]),
    lambda file: Call(os.mkdir, str(file)),
    lambda file: Call(np.save, str(file), 1),
], ids=["os.system", "eval", "exec", "open", "subprocess.call", "os.mkdir", "numpy.save"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_a_function_runs_nothing(tmp_path, make, protocol):
    witness = tmp_path / "witness"
    hostile = pickle.dumps({"data": make(witness), "labels": []}, protocol)
    message = refusal(load_batch, hostile, "data_batch_1")
    assert message.startswith("data_batch_1: can't be unpickled")
    assert "tampered with" in message
    assert list(tmp_path.iterdir()) == []
    pickle.loads(hostile)
    assert list(tmp_path.iterdir()), "the pickle harms no one, so nothing was proved"


def test_a_hostile_batch_in_an_archive_runs_nothing(tmp_path):
    witness = tmp_path / "witness"
    files = pickled(batches()) | {META: pickle.dumps(Call(os.system, f"touch '{witness}'"), 2)}
    assert META in refusal(read_cifar10, write_tar(tmp_path / "archive", files))
    assert not witness.exists()


@pytest.mark.parametrize("value", [
    Call(np.ndarray, (1,), np.dtype("O"), bytes(8)), np.array([{}], dtype=object),
    np.arange(3, dtype=np.int64), np.array(["a"]), np.float64(1.5), Call(np.dtype, "V8"),
    Call(np.ndarray, (1,), Call(np.dtype, "O", False, True), bytes(8)),
], ids=["pointer", "objects", "int64", "text", "scalar", "void", "dtype by hand"])
def test_only_arrays_of_bytes_are_built(value):
    """An array of objects over given bytes would take these for pointers."""
    message = refusal(load_batch, pickle.dumps({"data": value}, 2), "data_batch_1")
    assert "has no place" in message or "have no place" in message


@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"no pickle", pickle.dumps([1], 2),
                                     pickle.dumps({}, 2)[:-1], b"\x80\x63.", b"." * 10])
def test_what_is_no_pickled_dictionary_is_refused(content):
    assert refusal(load_batch, content, "data_batch_1").startswith("data_batch_1: ")


SMALL_BATCH = python2_pickle(cifar10_batch(IMAGES[0, :1, :1], [1]))


@settings(max_examples=300)
@given(place=st.integers(0, len(SMALL_BATCH) - 1), byte=st.integers(0, 255))
def test_a_damaged_pickle_gives_a_dictionary_or_is_refused(place, byte):
    content = bytearray(SMALL_BATCH)
    content[place] = byte
    try:
        batch = load_batch(bytes(content), "data_batch_1")
    except UserError:
        return
    assert isinstance(batch, dict)
