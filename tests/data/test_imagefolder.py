"""Anyone's pictures, in every layout and coding, or one line that says what is wrong."""

import io
import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from archive_files import (
    encode,
    picture_files,
    pixels,
    png_chunk,
    png_claiming,
    write_folder,
    write_tar,
    write_zip,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT
from PIL import Image
from refusals import refusal

from stages.config.errors import UserError
from stages.data.archives import pack_folder
from stages.data.imagefolder import decode, read_imagefolder

PNG_GREY, PNG_RGB = 0, 2
SIDE = 12
REAL = ROOT.parent / "shared" / "data" / "cifar10_images.zip"
ORIENTATION = 0x0112
# What a viewer does with the stored picture, by EXIF orientation.
SHOWN = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
         5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1),
         7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: np.rot90}


def pack(path, files):
    pack_folder(write_folder(path.with_name("folder"), files), path)
    return path


KINDS = {"folder": pack, "zip": write_zip, "tar": lambda path, files: write_tar(path, files, "w"),
         "tar.gz": write_tar}


def read(path, resolution=SIDE):
    """Classes, and for each position its label, whether it is test, and its picture."""
    listing = read_imagefolder(path, resolution)
    pictures = dict(listing.pictures)
    assert sorted(pictures) == list(range(len(listing.labels)))
    images = np.stack([pictures[position] for position in range(len(pictures))])
    assert images.dtype == np.uint8
    return listing.classes, listing.labels.tolist(), listing.is_test, images


def read_files(tmp_path, files):
    return read(write_zip(tmp_path / "archive", files))


# Layouts

PLAIN = picture_files("cat", "dog", count=3)
SPLIT = picture_files("train/cat", "train/dog", "test/cat", "test/dog")


def expected_images(files):
    return np.stack([decode(files[name], name, SIDE) for name in sorted(files)])


@pytest.mark.parametrize("prefix", ["", "pets/"])
def test_a_folder_for_each_class(tmp_path, prefix):
    classes, labels, is_test, images = read_files(
        tmp_path, {prefix + name: content for name, content in reversed(PLAIN.items())})
    assert classes == ["cat", "dog"]
    assert labels == [0, 0, 0, 1, 1, 1]
    assert is_test is None
    np.testing.assert_array_equal(images, expected_images(PLAIN))


@pytest.mark.parametrize("prefix", ["", "pets/"])
def test_folders_for_train_and_test(tmp_path, prefix):
    classes, labels, is_test, images = read_files(
        tmp_path, {prefix + name: content for name, content in SPLIT.items()})
    assert classes == ["cat", "dog"]
    assert labels == [0, 0, 1, 1, 0, 0, 1, 1]
    assert is_test.tolist() == [True] * 4 + [False] * 4
    np.testing.assert_array_equal(images, expected_images(SPLIT))


@pytest.mark.parametrize("prefix", ["", "pets/"])
def test_train_and_test_may_be_written_in_capitals(tmp_path, prefix):
    found = {prefix + name.replace("train", "Train").replace("test", "TEST"): content
             for name, content in SPLIT.items()}
    classes, _, is_test, _ = read_files(tmp_path, found)
    assert classes == ["cat", "dog"]
    assert is_test.sum() == 4


@pytest.mark.parametrize("files", [picture_files("Bus", "Car", "Train"),
                                   picture_files("Train/Bus", "Train/Car")])
def test_a_class_or_the_folder_around_classes_may_be_called_train(tmp_path, files):
    classes, _, is_test, _ = read_files(tmp_path, files)
    assert classes in (["Bus", "Car", "Train"], ["Bus", "Car"])
    assert is_test is None


def test_a_file_called_like_a_split_is_none(tmp_path):
    assert read_files(tmp_path, {**PLAIN, "test": b"a note"})[0] == ["cat", "dog"]


@pytest.mark.parametrize("files", [PLAIN, SPLIT, {f"pets/{n}": c for n, c in SPLIT.items()}],
                         ids=["classes", "train and test", "below a folder"])
def test_a_folder_a_zip_and_a_tar_give_the_same(tmp_path, files):
    results = {}
    for kind, make in KINDS.items():
        (tmp_path / kind).mkdir()
        results[kind] = read(make(tmp_path / kind / "archive", files))
    for kind in ("folder", "tar", "tar.gz"):
        for got, expected in zip(results[kind], results["zip"], strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("files", [PLAIN, SPLIT], ids=["classes", "train and test"])
def test_hidden_files_count_for_nothing(tmp_path, files):
    picture = next(iter(files.values()))
    clutter = {".DS_Store": b"1", "__MACOSX/cat/._0.png": b"2", ".git/x.png": picture,
               "__MACOSX/": b"", **{str(Path(name).parent / "._x.png"): b"3" for name in files},
               **{str(Path(name).parent / ".thumbs" / "x.png"): picture for name in files}}
    for prefix in ("", "pets/"):
        path = write_zip(tmp_path / "archive",
                         {prefix + name: content for name, content in {**clutter, **files}.items()})
        classes, labels, _, images = read(path)
        assert classes == ["cat", "dog"]
        assert len(labels) == len(files)
        np.testing.assert_array_equal(images, expected_images(files))


def test_other_files_are_left_out_and_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        _, labels, _, _ = read_files(tmp_path, {**PLAIN, "cat/notes.txt": b"1", "cat/b.gif": b"2",
                                                "README.md": b"3"})
    assert len(labels) == len(PLAIN)
    assert "2 files are no JPEG, PNG or WebP" in caplog.text


@pytest.mark.parametrize("files", [
    {**PLAIN, "loose.png": b""},
    {**{f"photos/{name}": content for name, content in PLAIN.items()}, "loose.png": b""}])
def test_pictures_beside_the_classes_are_left_out_and_told(tmp_path, caplog, files):
    with caplog.at_level(logging.WARNING):
        _, labels, _, _ = read_files(tmp_path, files)
    assert len(labels) == len(PLAIN)
    assert "1 pictures lie beside the folders of the classes" in caplog.text


def test_extensions_in_capitals_and_folders_within_a_class_count(tmp_path):
    picture = encode(pixels())
    _, labels, _, _ = read_files(tmp_path, {"cat/A.PNG": picture, "cat/deep/er/b.Jpeg": picture,
                                            "dog/c.webp": picture})
    assert labels == [0, 0, 1]


def test_a_name_that_stands_twice_is_one_picture_the_later_one(tmp_path):
    path = tmp_path / "archive"
    files = {**PLAIN, "cat//0.png": encode(pixels(77)), "./dog/0.png": encode(pixels(78))}
    _, labels, _, images = read(write_tar(path, files))
    assert labels == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(images[0], pixels(77))
    np.testing.assert_array_equal(images[3], pixels(78))


@pytest.mark.parametrize(("files", "told"), [
    ({}, "has no folder of pictures"),
    ({"1.png": b"1", "2.png": b"2"}, "has no folder of pictures"),
    ({**PLAIN, "eel/": b""}, "no JPEG, PNG or WebP in eel;"),
    ({**PLAIN, "eel/notes.txt": b"1"}, "no JPEG, PNG or WebP in eel;"),
    ({**SPLIT, "test/eel/": b"", "train/eel/0.png": b"1"}, "no JPEG, PNG or WebP in test/eel;"),
    (picture_files("cat", "sea\tlion"), "class 'sea\\tlion' has a character in its name that"),
    (picture_files("training/cat", "training/dog", "testing/cat", "testing/dog"),
     "its pictures stand a folder too deep, t"),
    (picture_files("cat"), "has one class only"),
    (picture_files("pets/cat"), "has one class only"),
    (picture_files("train/cat", "test/cat"), "has one class only"),
    ({**SPLIT, "train/eel/0.png": b"1"}, "classes differ between train and test: eel"),
    ({**SPLIT, "test/eel/0.png": b"1", "train/fox/0.png": b"1"},
     "classes differ between train and test: eel, fox"),
    (picture_files("train/cat", "train/dog"), "has train at its top; expected train and test"),
    (picture_files("bus", "car", "train"), "or one folder for each class, none of them called "
                                           "train or test"),
    ({**SPLIT, **picture_files("validation/cat")}, "has test, train, validation at its top"),
    ({**SPLIT, **picture_files("Train/cat")}, "has Train, test, train at its top"),
    (picture_files("Train/cat", "Test/cat", "Validation/cat"), "has Test, Train, Validation at"),
    (picture_files("pets/train/cat", "pets/train/dog"), "has train at its top"),
])
def test_a_layout_that_is_none_is_refused(tmp_path, files, told):
    path = write_zip(tmp_path / "archive", files)
    message = refusal(read_imagefolder, path, SIDE)
    assert message.startswith(str(path))
    assert told in message


def test_the_real_pictures_are_listed():
    """The listing alone: no picture is decoded."""
    if not REAL.is_file():
        pytest.skip("cifar10_images.zip is not on this machine, in shared/ beside the repository")
    listing = read_imagefolder(REAL, 32)
    assert listing.classes == ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog",
                               "horse", "ship", "truck"]
    assert np.bincount(listing.labels[listing.is_test]).tolist() == [1000] * 10
    assert np.bincount(listing.labels[~listing.is_test]).tolist() == [5000] * 10


# Decoding

def test_a_colour_picture_keeps_its_pixels():
    for kind, options in [("PNG", {}), ("WEBP", {"lossless": True})]:
        picture = decode(encode(pixels(), kind, **options), "x", SIDE)
        np.testing.assert_array_equal(picture, pixels())


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_lossy_picture_keeps_its_colours_about(kind):
    ramp = np.linspace(0, 255, SIDE).astype(np.uint8)
    smooth = np.stack([np.tile(ramp, (SIDE, 1)), np.tile(ramp[:, None], (1, SIDE)),
                       np.full((SIDE, SIDE), 90, np.uint8)], axis=-1)
    picture = decode(encode(smooth, kind, quality=95), "x", SIDE)
    assert np.abs(picture.astype(int) - smooth).mean() < 8


def test_a_grey_picture_has_equal_channels():
    grey = pixels()[..., 0]
    picture = decode(encode(grey), "x", SIDE)
    np.testing.assert_array_equal(picture, np.repeat(grey[..., None], 3, axis=-1))


def test_a_black_and_white_picture_is_black_and_white():
    bits = pixels()[..., 0] > 127
    picture = decode(encode(Image.fromarray(bits)), "x", SIDE)
    np.testing.assert_array_equal(picture, np.repeat(bits[..., None], 3, axis=-1) * 255)


def test_grey_of_16_bits_keeps_its_upper_8():
    grey = np.random.default_rng(0).integers(0, 2**16, (SIDE, SIDE), dtype=np.uint16)
    picture = decode(encode(grey), "x", SIDE)
    assert picture.shape == (SIDE, SIDE, 3)
    np.testing.assert_array_equal(picture, np.repeat((grey >> 8)[..., None], 3, axis=-1))


def test_a_palette_gives_its_colours():
    indices = pixels()[..., 0] % 3
    image = Image.frombytes("P", (SIDE, SIDE), indices.tobytes())
    colours = np.array([[255, 0, 0], [0, 200, 10], [1, 2, 3]], np.uint8)
    image.putpalette(colours.ravel().tolist())
    np.testing.assert_array_equal(decode(encode(image), "x", SIDE), colours[indices])
    for transparency in (1, bytes([255, 0, 255])):
        shown = decode(encode(image, transparency=transparency), "x", SIDE)
        white = colours.copy()
        white[1] = 255
        np.testing.assert_array_equal(shown, white[indices])


def test_transparency_is_laid_over_white():
    rgba = np.dstack([pixels(), np.full((SIDE, SIDE), 255, np.uint8)])
    rgba[:4, :, 3] = 0
    rgba[4:8, :] = 0, 0, 0, 128
    for kind, options in [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})]:
        shown = decode(encode(rgba, kind, **options), "x", SIDE)
        assert (shown[:4] == 255).all()
        assert (np.abs(shown[4:8].astype(int) - 127) <= 1).all()
        np.testing.assert_array_equal(shown[8:], pixels()[8:])


def test_grey_with_transparency_is_laid_over_white():
    grey = np.dstack([np.full((SIDE, SIDE), 40, np.uint8), np.zeros((SIDE, SIDE), np.uint8)])
    grey[6:, :, 1] = 255
    shown = decode(encode(Image.fromarray(grey)), "x", SIDE)
    assert (shown[:6] == 255).all()
    assert (shown[6:] == 40).all()


def test_one_colour_marked_as_transparent_is_white():
    image = np.full((SIDE, SIDE, 3), 10, np.uint8)
    image[:6] = 0, 255, 0
    shown = decode(encode(image, transparency=(0, 255, 0)), "x", SIDE)
    assert (shown[:6] == 255).all()
    assert (shown[6:] == 10).all()


def test_one_grey_of_sixteen_bits_marked_as_transparent_is_white():
    image = np.full((SIDE, SIDE), 10 << 8, np.uint16)
    image[:6] = (10 << 8) + 1
    shown = decode(encode(Image.fromarray(image), transparency=(10 << 8) + 1), "x", SIDE)
    assert (shown[:6] == 255).all()
    assert (shown[6:] == 10).all()


def test_one_colour_of_sixteen_bits_marked_as_transparent_is_white():
    colour = (3 << 8, 7 << 8, 234 << 8)
    content = sixteen_bit_png(SIDE, colour, transparent=colour)
    assert (decode(content, "x", SIDE) == 255).all()
    assert (decode(sixteen_bit_png(SIDE, colour, transparent=(1, 2, 3)), "x", SIDE)
            == [3, 7, 234]).all()


@pytest.mark.parametrize(("bits", "shown"), [(2, 85), (4, 17), (8, 1)])
def test_a_grey_of_few_bits_marked_as_transparent_is_white(bits, shown):
    """Every other pixel has the grey 1, which is transparent, the others 0."""
    row = np.packbits([int(bit) for grey in (0, 1) * (SIDE // 2) for bit in f"{grey:0{bits}b}"])
    content = png(SIDE, bits, PNG_GREY, (b"\0" + row.tobytes()) * SIDE, struct.pack(">H", 1))
    assert Image.open(io.BytesIO(content)).getpixel((1, 0)) == shown
    assert decode(content, "x", SIDE)[0, :, 0].tolist() == [0, 255] * (SIDE // 2)


def test_pictures_are_scaled_bilinearly_and_antialiased():
    noise = pixels(1, 24, 24)
    expected = Image.fromarray(noise).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decode(encode(noise), "x", SIDE), np.asarray(expected))


def sixteen_bit_png(side, colour, transparent):
    """A PNG of one colour in 16 bits a channel."""
    rows = (b"\0" + struct.pack(">3H", *colour) * side) * side
    return png(side, 16, PNG_RGB, rows, struct.pack(">3H", *transparent))


def png(side, bits, kind, rows, transparent):
    """A PNG of a form that Pillow reads and can't write."""
    return (b"\x89PNG\r\n\x1a\n"
            + png_chunk(b"IHDR", struct.pack(">2I5B", side, side, bits, kind, 0, 0, 0))
            + png_chunk(b"tRNS", transparent)
            + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b""))


@pytest.mark.parametrize(("ink", "colour"), [
    ((0, 0, 0, 0), (255, 255, 255)), ((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 255), (0, 0, 0)),
])
def test_ink_is_turned_into_light(ink, colour):
    content = encode(Image.new("CMYK", (SIDE, SIDE), ink), "JPEG", quality=100)
    assert np.abs(decode(content, "x", SIDE).astype(int) - colour).max() <= 4


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_rotated_picture_is_shown_upright(orientation, kind):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    shown = decode(encode(pixels(), kind, exif=exif, **options), "x", SIDE)
    np.testing.assert_array_equal(shown, SHOWN[orientation](pixels()))


def test_a_rotated_photograph_is_shown_upright():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    stored = np.zeros((SIDE * 2, SIDE, 3), np.uint8)
    stored[SIDE:] = 255  # white below: on the left, once turned clockwise
    shown = decode(encode(stored, "JPEG", exif=exif, quality=100), "x", SIDE).astype(int)
    assert shown[:, :SIDE // 2 - 1].min() > 200
    assert shown[:, SIDE // 2 + 1:].max() < 50


@pytest.mark.parametrize("wide", [True, False])
def test_the_middle_of_a_long_picture_is_kept(wide):
    thirds = np.repeat(np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8), SIDE, axis=0)
    image = np.broadcast_to(thirds if wide else thirds[:, None],
                            (SIDE, 3 * SIDE, 3) if wide else (3 * SIDE, SIDE, 3))
    shown = decode(encode(np.ascontiguousarray(image)), "x", SIDE)
    assert (shown == [0, 255, 0]).all()


@settings(max_examples=25)
@given(width=st.integers(1, 40), height=st.integers(1, 40), resolution=st.integers(4, 40),
       colour=st.tuples(*[st.integers(0, 255)] * 3))
def test_any_size_is_brought_to_the_resolution(width, height, resolution, colour):
    image = np.full((height, width, 3), colour, np.uint8)
    shown = decode(encode(image), "x", resolution)
    assert shown.shape == (resolution, resolution, 3)
    assert (shown == colour).all()


JPEG, PNG, WEBP = (encode(pixels(), kind) for kind in ("JPEG", "PNG", "WEBP"))


@pytest.mark.filterwarnings("error")  # the user reads the refusal and nothing else
@pytest.mark.parametrize("content", [
    b"", b"no picture", JPEG[:len(JPEG) // 2], PNG[:len(PNG) // 2], WEBP[:len(WEBP) // 2],
    PNG[:60] + b"\0\0\0" + PNG[63:], encode(pixels(), "GIF"), encode(pixels(), "BMP"),
    encode(pixels(), "TIFF"), b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"<svg/>",
], ids=["empty", "text", "half a JPEG", "half a PNG", "half a WebP", "damaged PNG", "GIF", "BMP",
        "TIFF", "EPS", "SVG"])
def test_an_unreadable_picture_is_named(tmp_path, content):
    path = write_zip(tmp_path / "archive", {**PLAIN, "dog/sick.png": content})
    message = refusal(read, path)
    assert message.startswith(f"{path}: dog/sick.png: can't be read as a picture")
    assert message.endswith("mend or remove it")
    assert "BytesIO" not in message


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("width", "height"), [(12_000, 12_000), (100_000_001, 1), (30_000, 30_000),
                                               (2**31 - 1, 2**31 - 1)])
def test_a_picture_that_claims_to_be_huge_is_refused(tmp_path, width, height):
    path = write_zip(tmp_path / "archive", {**PLAIN, "dog/bomb.png": png_claiming(width, height)})
    message = refusal(read, path)
    assert "dog/bomb.png" in message
    assert "decompression bomb" in message


def photograph():
    """A JPEG to be turned, with its maker (a text) and its resolution (a fraction) in EXIF."""
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010F], exif[0x011A] = 6, "maker", 72.0
    return encode(pixels(), "JPEG", exif=exif)


PHOTOGRAPH = photograph()
MAKER, RESOLUTION = b"\x01\x0f\x00\x02", b"\x01\x1a\x00\x05"


@pytest.mark.parametrize(("entry", "broken"), [(MAKER, b"\x01\x1a\x00\x02"),
                                               (RESOLUTION, b"\x01\x0d\x00\x05")])
def test_a_picture_with_broken_exif_is_named(entry, broken):
    assert decode(PHOTOGRAPH, "photograph", SIDE).shape == (SIDE, SIDE, 3)
    assert entry in PHOTOGRAPH
    message = refusal(decode, PHOTOGRAPH.replace(entry, broken), "photograph", SIDE)
    assert message.startswith("photograph: can't be read as a picture")


def test_exif_that_points_beyond_any_file_is_named():
    """An offset of 64 bits to further entries, which Pillow hands to seek."""
    entries = (struct.pack("<HHII", ORIENTATION, 3, 1, 6)
               + struct.pack("<HHII", 0x8769, 16, 1, 8 + 2 + 2 * 12 + 4))
    exif = (b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4) + b"\xff" * 8)
    content = encode(pixels(), "JPEG", exif=exif)
    assert refusal(decode, content, "photograph", SIDE).startswith("photograph: can't be read as")


@pytest.mark.parametrize("profile", [b"", b"name\0"])
def test_a_picture_with_a_colour_profile_cut_off_is_named(profile):
    """After the pixels, where Pillow reads it when it is asked for EXIF."""
    content = encode(pixels(), "PNG")
    end = content.rindex(struct.pack(">I", 0) + b"IEND")
    content = content[:end] + png_chunk(b"iCCP", profile) + content[end:]
    assert refusal(decode, content, "picture", SIDE).startswith("picture: can't be read as")


def test_exif_of_a_fraction_that_is_none_is_named():
    """Where Pillow writes one with a sign, here -1 divided by 0 of one without."""
    exif = (b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2)
            + struct.pack("<HHII", ORIENTATION, 3, 1, 6) + struct.pack("<HHII", 45579, 5, 1, 38)
            + bytes(4) + struct.pack("<II", 2**32 - 1, 0))
    content = encode(pixels(), "JPEG", exif=exif)
    assert refusal(decode, content, "photograph", SIDE).startswith("photograph: can't be read as")


@settings(max_examples=300)
@given(place=st.integers(0, len(PHOTOGRAPH) - 1), byte=st.integers(0, 255))
def test_a_damaged_picture_is_decoded_or_refused(place, byte):
    content = bytearray(PHOTOGRAPH)
    content[place] = byte
    try:
        shown = decode(bytes(content), "photograph", SIDE)
    except UserError:
        return
    assert shown.shape == (SIDE, SIDE, 3)
