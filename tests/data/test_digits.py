"""The digits table gives scikit-learn's digits, or is refused in one line."""

import gzip
from importlib import resources

import numpy as np
import pytest
from refusals import refusal
from sklearn.datasets import load_digits

from stages.data.digits import read_digits

PACKAGED = (resources.files("sklearn.datasets.data") / "digits.csv.gz").read_bytes()
ROW = [*range(17), *[8] * 47, 3]


def table(*rows):
    return gzip.compress("\n".join(",".join(map(str, row)) for row in rows).encode())


@pytest.fixture
def read(tmp_path):
    def write_and_read(content):
        (tmp_path / "archive").write_bytes(content)
        return read_digits(tmp_path / "archive")
    return write_and_read


def test_the_packaged_table_gives_the_digits_of_scikit_learn(read):
    listing = read(PACKAGED)
    digits = load_digits()
    pictures = dict(listing.pictures)
    assert sorted(pictures) == list(range(1797))
    assert listing.classes == list("0123456789")
    assert listing.is_test is None
    np.testing.assert_array_equal(listing.labels, digits.target)
    images = np.stack([pictures[position] for position in range(1797)])
    assert images.dtype == np.uint8
    assert images.shape == (1797, 8, 8, 3)
    for channel in range(3):
        np.testing.assert_array_equal(images[..., channel], np.round(digits.images / 16 * 255))


@pytest.mark.filterwarnings("error")  # the user reads the refusal and nothing else
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.9999])
def test_a_table_cut_anywhere_is_refused(read, share):
    message = refusal(read, PACKAGED[:int(share * len(PACKAGED))])
    assert "not the digits table" in message


@pytest.mark.parametrize("place", [1, 40, 100, 1000, -6])
def test_a_damaged_table_is_refused(read, place):
    content = bytearray(PACKAGED)
    content[place] ^= 0xff
    assert "not the digits table" in refusal(read, bytes(content))


@pytest.mark.parametrize("content", [
    b"no gzip", gzip.compress(b"a,b\nc,d\n"), gzip.compress(b"\xff\xfe"), table(ROW[:-1], ROW[:-1]),
    table(ROW, ROW[:-1]), table([*ROW, 1], [*ROW, 1]), table(ROW),
], ids=["no gzip", "words", "no text", "64 columns", "ragged", "66 columns", "one row"])
def test_another_file_is_refused(read, content):
    assert "not the digits table" in refusal(read, content)


@pytest.mark.parametrize(("column", "value"), [
    (0, 17), (5, -1), (63, "nan"), (64, 10), (64, -1), (64, "nan"), (2, "inf"),
])
def test_a_value_out_of_range_is_refused(read, column, value):
    assert len(read(table(ROW, ROW)).labels) == 2
    bad = [value if place == column else number for place, number in enumerate(ROW)]
    assert "out of range" in refusal(read, table(ROW, bad))


def test_a_missing_archive_is_refused(tmp_path):
    assert "nowhere" in refusal(read_digits, tmp_path / "nowhere")
