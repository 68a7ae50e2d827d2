"""Stage prepare: decode the archive into one array file and draw the splits."""

import logging
from pathlib import Path

import numpy as np

from stages.config.errors import UserError
from stages.config.params import load_params
from stages.config.schema import Data
from stages.config.stage import run_stage
from stages.data.cifar10 import read_cifar10
from stages.data.dataset import IMAGES_FILE, write_images, write_splits
from stages.data.digits import read_digits
from stages.data.imagefolder import read_imagefolder
from stages.data.listing import Listing
from stages.data.sources import ARCHIVE
from stages.data.splits import check_copies, split
from stages.files.atomic import replacing

log = logging.getLogger(__name__)


def read_listing(params: Data, archive: Path) -> Listing:
    """List the archive's pictures by the reader of its format."""
    if params.format == "imagefolder":
        return read_imagefolder(archive, params.resolution)
    reader = {"digits": read_digits, "cifar10": read_cifar10}[params.format]
    return reader(archive)


def main() -> None:
    params = load_params("data.name", "data.format", "data.resolution", "data.validation_fraction",
                         "data.test_fraction", "data.calibration_size", "data.seed").data
    if not ARCHIVE.is_file():
        raise UserError(f"{ARCHIVE}: no such file; run 'dvc repro download'")
    try:
        listing = read_listing(params, ARCHIVE)
        splits = split(listing.labels, listing.is_test, listing.classes,
                       validation_fraction=params.validation_fraction,
                       test_fraction=params.test_fraction,
                       calibration_size=params.calibration_size, seed=params.seed)
        with replacing(IMAGES_FILE) as partial:
            write_images(listing, params.resolution, partial)
            check_copies(np.load(partial, mmap_mode="r"), splits, listing.names)
    except UserError as error:
        raise UserError(f"{error} (a source that was changed is read again by 'dvc repro --force "
                        "download', or 'dvc exp run --force download' with your options)") from None
    if len(splits["calibration"]) > len(splits["train"]):
        log.warning("data.calibration_size: %d pictures are held out of train, which leaves it %d; "
                    "lower it", len(splits["calibration"]), len(splits["train"]))
    write_splits(params.name, listing, splits)
    log.info("%s: %d classes, %s", params.name, len(listing.classes),
             ", ".join(f"{len(part)} {name}" for name, part in splits.items()))


if __name__ == "__main__":
    run_stage(main, __doc__)
