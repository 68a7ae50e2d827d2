"""The frame a stage runs in: logging on, and bad input told in one line."""

import logging
import sys
from collections.abc import Callable

from stages.config.errors import UserError

log = logging.getLogger("stages")

EXIT_BAD_INPUT = 1
EXIT_INTERRUPTED = 130


def run_stage(main: Callable[[], None]) -> None:
    """Run `main` and exit: 0 when it is done, 1 on bad input, 130 when interrupted."""
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(message)s",
                        stream=sys.stderr)
    for ours in ("stages", "__main__"):
        logging.getLogger(ours).setLevel(logging.INFO)
    try:
        main()
    except UserError as error:
        log.error("%s", error)
        sys.exit(EXIT_BAD_INPUT)
    except OSError as error:  # no permission, a full disk, a folder in a file's place
        log.error("%s", error if error.filename is None else f"{error.filename}: {error.strerror}")
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        log.error("interrupted")
        sys.exit(EXIT_INTERRUPTED)
