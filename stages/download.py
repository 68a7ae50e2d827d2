"""Stage download: bring the archive that params.yaml names to data/archive."""

import logging

from stages.config.params import load_params
from stages.config.stage import run_stage
from stages.data.sources import ARCHIVE, obtain

log = logging.getLogger(__name__)


def main() -> None:
    params = load_params("data.name", "data.format", "data.sha256").data
    sha256 = obtain(params.name, params.format, params.sha256, ARCHIVE)
    log.info("%s: %d bytes, sha256 %s", ARCHIVE, ARCHIVE.stat().st_size, sha256)
    if params.sha256 is None:
        log.warning("data.sha256 is not set: set it to the hash above, and a change of the "
                    "archive can't go unnoticed")


if __name__ == "__main__":
    run_stage(main, __doc__)
