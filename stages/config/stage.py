"""The frame a stage runs in: logging on, and bad input told in one line."""

import logging
import sys
from collections.abc import Callable

from stages.config.command_line import command_line
from stages.config.errors import UserError

log = logging.getLogger("stages")

EXIT_BAD_INPUT = 1
EXIT_INTERRUPTED = 130


def run_stage(main: Callable[[], None], description: str | None = None) -> None:
    """Run `main` and exit: 0 when it is done, 1 on bad input, 130 when interrupted.

    Args:
        description: of a stage that takes no arguments, which are then refused (exit 2).
    """
    if description:
        command_line(description, epilog="Parameters are read from params.yaml.").parse_args()
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
        path = error.filename2 or error.filename  # the second is what was to be replaced
        in_the_way = (IsADirectoryError, NotADirectoryError, FileExistsError)
        log.error("%s", error if path is None else f"{path}: {error.strerror}"
                  + ("; remove or rename it" if isinstance(error, in_the_way) else ""))
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        log.error("interrupted")
        sys.exit(EXIT_INTERRUPTED)
