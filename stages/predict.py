"""Classify picture files with models/deploy.onnx; needs onnxruntime, numpy and pillow alone.

    python -m stages.predict cat.jpg pictures/ 'more/*.png'
    find . -name '*.jpg' | python -m stages.predict - --json

A folder is searched for JPEG, PNG and WebP files, also below it; "-" reads a path per line. Each
picture is decoded as `prepare` decodes the pictures of training: EXIF rotation applied,
transparency laid over white, grey and palettes turned to RGB; a picture of another size is scaled
so that its shorter side has the resolution of the training pictures, and the middle square is kept
(what lies beyond it, left and right or above and below, is not seen). The model does the rest.

One line each: path, class and probability, parted by tabs; with --json an object with all
probabilities. A file that can't be read is told on stderr, and the rest go on.
Exit status: 0 all classified, 1 some could not be, 2 bad usage or no usable model.
"""

import glob
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from stages.config.command_line import command_line
from stages.config.errors import UserError
from stages.config.stage import run_stage
from stages.data.imagefolder import EXTENSIONS, decode
from stages.deployment.runtime import DeployedModel, load_deployed

log = logging.getLogger(__name__)

EXIT_SOME_FAILED, EXIT_NO_MODEL = 1, 2


def find_pictures(arguments: list[str]) -> Iterator[str]:
    """The paths that `arguments` name; one that leads nowhere is passed on, to fail when read."""
    for argument in arguments:
        if argument == "-":
            yield from filter(None, (line.rstrip("\r\n") for line in sys.stdin or ()))
        elif os.path.isdir(argument):
            yield from in_folder(argument)
        elif os.path.exists(argument):
            yield argument
        else:
            found = sorted(glob.glob(argument, recursive=True)) or [argument]
            # A pattern may find a folder as well as the pictures in it.
            yield from dict.fromkeys(picture for path in found for picture in (
                in_folder(path) if os.path.isdir(path) else [path]))


def in_folder(folder: str) -> list[str]:
    """The pictures in and below `folder`, hidden ones left out; itself when there are none.

    A folder that can't be read is among them, to fail when read.
    """
    found: list[str] = []
    seen: set[str] = set()

    def unreadable(error: OSError) -> None:
        found.append(error.filename)

    for base, folders, files in os.walk(folder, followlinks=True, onerror=unreadable):
        if (real := os.path.realpath(base)) in seen:  # a link to a folder around it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(base, name) for name in files if not name.startswith(".")
                  and os.path.splitext(name)[1].lower() in EXTENSIONS]
    return sorted(found) or [folder]


def classify(model: DeployedModel, path: str) -> dict[str, object]:
    """What `model` says of the picture at `path`.

    Raises:
        UserError: no such file, or not a picture that can be decoded.
    """
    try:
        content = Path(path).read_bytes()
    except IsADirectoryError:
        raise UserError(f"{path}: a folder without JPEG, PNG or WebP files, or one named on stdin"
                        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path}: can't be read ({reason})") from None
    picture = decode(content, path, model.resolution)
    _, probabilities, index = model.run(picture[None])
    named = dict(zip(model.classes, probabilities[0].tolist(), strict=True))
    name = model.classes[index[0]]
    return {"path": path, "class": name, "class_index": int(index[0]),
            "probability": named[name], "probabilities": named}


def classify_all(model: DeployedModel, paths: Iterator[str], *, as_json: bool) -> int:
    """Print what `model` says of each picture; how many could not be classified is returned."""
    failed = 0
    for path in paths:
        try:
            found = classify(model, path)
            print(json.dumps(found) if as_json else
                  f"{one_field(path)}\t{one_field(found['class'])}\t"
                  f"{found['probability']:.4f}", flush=True)
        except UserError as error:
            log.error("%s", one_field(str(error)))
            failed += 1
        except BrokenPipeError:  # the reader has gone (| head); what is buffered goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            break
    return failed


def one_field(text: str) -> str:
    """`text` with what would end a field or a line written as an escape."""
    return text.translate({ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r"})


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="file, folder, glob, or -")
    parser.add_argument("--json", action="store_true", help="a JSON object for each picture")
    parser.add_argument("--model", type=Path, default=Path("models/deploy.onnx"))
    arguments = parser.parse_args()
    try:
        model = load_deployed(arguments.model)
    except UserError as error:
        log.error("%s", error)
        sys.exit(EXIT_NO_MODEL)
    for stream in filter(None, (sys.stdin, sys.stdout)):  # a file's name need not be text
        stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    if classify_all(model, find_pictures(arguments.images), as_json=arguments.json):
        sys.exit(EXIT_SOME_FAILED)


if __name__ == "__main__":
    run_stage(main)
