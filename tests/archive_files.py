"""Pictures, and archives of any content, that the tests of the data stages make."""

import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image


def write_params(folder: Path, **changed: Any) -> None:
    """params.yaml in `folder`: the data set pets, of pictures; `changed` overrides keys of data."""
    data = {"name": "pets", "format": "imagefolder", "sha256": None, "resolution": 12,
            "horizontal_flip": False, "validation_fraction": 0.2, "test_fraction": 0.25,
            "calibration_size": 4, "seed": 0}
    (folder / "params.yaml").write_text(yaml.safe_dump({"data": {**data, **changed}}))


def pixels(seed: int = 0, height: int = 12, width: int = 12) -> np.ndarray:
    """Random uint8 (height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(picture: np.ndarray | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """`picture` as the bytes of a file of `kind`."""
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims `width` by `height` pixels."""
    return (b"\x89PNG\r\n\x1a\n"
            + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + png_chunk(b"IDAT", zlib.compress(bytes(100))) + png_chunk(b"IEND", b""))


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return (struct.pack(">I", len(content)) + kind + content
            + struct.pack(">I", zlib.crc32(kind + content)))


def picture_files(*folders: str, count: int = 2) -> dict[str, bytes]:
    """`count` PNGs, each its own, in each of `folders`: content by name."""
    return {f"{folder}/{number}.png": encode(pixels(100 * place + number))
            for place, folder in enumerate(folders) for number in range(count)}


def write_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED
              ) -> Path:
    """A zip of `files`; a name that ends in "/" is a folder."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    """A tar of `files`; a name that ends in "/" is a folder."""
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    """`files` below `folder`; a name that ends in "/" is a folder."""
    for name, content in files.items():
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return folder


class _Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2 did, in which CIFAR-10 was published."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, value: str | bytes) -> None:
        content = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def python2_pickle(value: Any) -> bytes:
    """`value` pickled as Python 2 with the NumPy of its day pickles it at protocol 2."""
    buffer = io.BytesIO()
    _Python2Pickler(buffer, 2).dump(value)
    return buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def cifar10_batch(images: np.ndarray, labels: list[int]) -> dict[str, Any]:
    """The dictionary of one batch file: red, green and blue planes in a row for each picture."""
    return {"batch_label": "a batch", "labels": labels,
            "data": images.transpose(0, 3, 1, 2).reshape(len(images), -1).copy(),
            "filenames": [f"{number}.png" for number in range(len(images))]}
