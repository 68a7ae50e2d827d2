"""A user's own pictures: `train/<class>/*` and `test/<class>/*`, or `<class>/*` alone.

The layout may stand at the top of the archive or below one single folder; train and test may also
be Train and Test, or in capitals.
"""

import io
import logging
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from stages.config.errors import UserError
from stages.data.archives import Archive, Member
from stages.data.listing import Listing

log = logging.getLogger(__name__)

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")
SPLITS = {"train", "test"}
MAX_PIXELS = 100_000_000
WHITE = 255
GREY_STEPS = {"L;2": 85, "L;4": 17}  # by Pillow's name of the pixels


def read_imagefolder(path: Path, resolution: int) -> Listing:
    """List the pictures of the archive at `path`, decoded to `resolution` as they are read.

    Raises:
        UserError: no known layout, an empty class, fewer than two classes, a class that can't be
            printed, classes that differ between train and test; while reading, a picture that
            can't be decoded.
    """
    archive = Archive(path)
    members = [m for m in archive.members() if not _is_hidden(m)]
    found = _without_single_folder(members)
    folders = {m.parts[skip] for m, skip in found if len(m.parts) > skip + 1 or m.is_folder}
    lowered = sorted(map(str.lower, folders))
    with_splits = {*lowered} >= SPLITS or bool(SPLITS & folders)
    if with_splits and lowered != sorted(SPLITS):
        raise UserError(f"{path}: has {', '.join(sorted(folders))} at its top; expected train "
                        "and test, or one folder for each class, none of them called train or "
                        "test")
    depth = 2 if with_splits else 1
    pictures: dict[tuple[str, ...], list[str]] = {}
    others = 0
    for member, skip in found:
        key = member.parts[skip:skip + depth]
        if member.is_folder and len(key) == depth:
            pictures.setdefault(key, [])
        elif not member.is_folder and len(member.parts) > skip + depth:
            pictures.setdefault(key, []).extend([member.name] if _is_picture(member) else [])
            others += not _is_picture(member)
    if others:
        log.warning("%s: %d files are no JPEG, PNG or WebP by their names; left out", path, others)
    if outside := sum(map(_is_picture, members)) - sum(map(len, pictures.values())):
        log.warning("%s: %d pictures lie beside the folders of the classes; left out", path,
                    outside)
    _check_classes(pictures, depth, path)
    if all(len(m.parts) > skip + depth + 1 for m, skip in found if _is_picture(m)):
        raise UserError(f"{path}: its pictures stand a folder too deep, "
                        f"{next(m.name for m, _ in found if _is_picture(m))} say; expected "
                        "train/<class>/* and test/<class>/*, or <class>/*")
    classes = sorted({key[-1] for key in pictures})
    listed = [(key, name) for key in sorted(pictures) for name in sorted(set(pictures[key]))]
    labels = np.array([classes.index(key[-1]) for key, _ in listed], dtype=np.int64)
    is_test = np.array([key[0].lower() == "test" for key, _ in listed]) if with_splits else None
    wanted = {name: position for position, (_, name) in enumerate(listed)}
    return Listing(classes, labels, is_test, _decoded(archive, wanted, resolution), [*wanted])


def _is_picture(member: Member) -> bool:
    return not member.is_folder and member.name.lower().endswith(EXTENSIONS)


def _is_hidden(member: Member) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in member.parts)


def _without_single_folder(members: list[Member]) -> list[tuple[Member, int]]:
    """Pair each member with the number of leading folders to skip: 1 below a single folder, which
    is then left out with what lies beside it.
    """
    members = [m for m in members if m.parts]
    tops = {m.parts[0] for m in members if len(m.parts) > 1 or m.is_folder}
    seconds = {m.parts[1] for m in members if len(m.parts) > 2 or (m.is_folder and
                                                                  len(m.parts) == 2)}
    skip = 1 if len(tops) == 1 and not tops & SPLITS and seconds else 0
    return [(m, skip) for m in members if len(m.parts) > skip]


def _check_classes(pictures: dict[tuple[str, ...], list[str]], depth: int, path: Path) -> None:
    if not pictures:
        raise UserError(f"{path}: has no folder of pictures; expected train/<class>/* and "
                        "test/<class>/*, or <class>/*")
    if empty := sorted("/".join(key) for key, names in pictures.items() if not names):
        raise UserError(f"{path}: no JPEG, PNG or WebP in {', '.join(empty)}; "
                        "fill or remove the folder")
    if depth == 2:
        train, test = ({key[1] for key in pictures if key[0].lower() == split}
                       for split in ("train", "test"))
        if train != test:
            raise UserError(f"{path}: classes differ between train and test: "
                            f"{', '.join(sorted(train ^ test))} stands in one only")
    if odd := [key[-1] for key in sorted(pictures) if not key[-1].isprintable()]:
        raise UserError(f"{path}: class {odd[0]!a} has a character in its name that can't be "
                        "printed; rename the folder")
    if len({key[-1] for key in pictures}) < 2:
        raise UserError(f"{path}: has one class only; a classifier needs two or more")


def _decoded(archive: Archive, wanted: dict[str, int], resolution: int
             ) -> Iterator[tuple[int, np.ndarray]]:
    for position, name, content in archive.read(wanted):
        yield position, decode(content, f"{archive.path}: {name}", resolution)


def decode(content: bytes, name: str, resolution: int) -> np.ndarray:
    """Decode a picture to uint8 RGB of shape (resolution, resolution, 3).

    EXIF rotation is applied and transparency laid over white; the shorter side is scaled to
    `resolution` (bilinear, antialiased) and the middle is kept.

    Raises:
        UserError: `name` can't be decoded.
    """
    try:
        with (warnings.catch_warnings(action="ignore"),
              Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "WEBP")) as opened):
            if opened.width * opened.height > MAX_PIXELS:
                raise UserError(f"{name}: {opened.width} by {opened.height} pixels; refused as "
                                "a decompression bomb")
            _scale_transparent_grey(opened)
            picture = _rgb(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError:
        raise UserError(f"{name}: can't be read as a picture (not a JPEG, PNG or WebP); "
                        "mend or remove it") from None
    except (OSError, EOFError, SyntaxError, ValueError, TypeError, AttributeError, LookupError,
            ArithmeticError, AssertionError, struct.error,
            Image.DecompressionBombError) as error:  # what Pillow lets through of a damaged file
        raise UserError(f"{name}: can't be read as a picture ({str(error).strip()}); "
                        "mend or remove it") from None
    if picture.size != (resolution, resolution):
        picture = ImageOps.fit(picture, (resolution, resolution), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def _scale_transparent_grey(opened: Image.Image) -> None:
    """Bring the transparent grey of a PNG of 2 or 4 bits to 8, as Pillow brings its pixels."""
    step = GREY_STEPS.get(opened.tile[0].args) if opened.format == "PNG" and opened.tile else None
    if step and isinstance(clear := opened.info.get("transparency"), int):
        opened.info["transparency"] = clear * step


def _rgb(picture: Image.Image) -> Image.Image:
    clear = picture.info.get("transparency")  # the one colour that is, in a PNG of such
    if picture.mode.startswith("I"):
        values = np.asarray(picture)
        grey = np.where(values == clear, WHITE, values >> 8)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if picture.mode == "RGB" and clear and max(clear) > WHITE:  # of 16 bits, as the file was
        picture.info["transparency"] = tuple(value >> 8 for value in clear)
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return picture.convert("RGB")
