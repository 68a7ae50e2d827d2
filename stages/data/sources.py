"""Where the bytes of a data set come from: the environment, the home page, or a package.

A place is never a parameter. It is named by DATA_SOURCE_<NAME>, a path or a URL, in the
environment or in a `.env` file in the working folder or one above it, which is how an experiment
in a temporary folder below the repository finds it too.
"""

import hashlib
import logging
import os
import re
import shutil
from importlib import resources
from pathlib import Path

import pooch
import requests
from dotenv import dotenv_values, find_dotenv

from stages.config.errors import UserError
from stages.data.archives import pack_folder
from stages.files.atomic import replacing

log = logging.getLogger(__name__)

ARCHIVE = Path("data/archive")
CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
RETRIES = 3


def variable_name(name: str) -> str:
    """The environment variable that names the source of data set `name`."""
    return "DATA_SOURCE_" + re.sub(r"[^A-Z0-9]", "_", name.upper())


def named_source(name: str) -> str | None:
    """The path or URL that the environment or a `.env` file gives for data set `name`."""
    variable = variable_name(name)
    if value := os.environ.get(variable):
        return value
    dotenv = find_dotenv(usecwd=True)
    try:
        value = dotenv_values(dotenv).get(variable) if dotenv else None
    except UnicodeDecodeError:
        raise UserError(f"{dotenv}: is not UTF-8 text; save it as such") from None
    if not value or _is_url(value):
        return value or None
    return str(Path(dotenv).parent / os.path.expanduser(value))


def obtain(name: str, data_format: str, sha256: str | None, target: Path) -> str:
    """Write the archive of data set `name` to `target` and return its sha256.

    Raises:
        UserError: no source, source not found, no network, or bytes with another hash.
    """
    source = named_source(name)
    if source is None and data_format == "digits":
        packaged = resources.files("sklearn.datasets.data") / "digits.csv.gz"
        with resources.as_file(packaged) as path:
            return _copy_checked(path, sha256, target)
    if source is None and data_format == "cifar10":
        source = CIFAR10_URL
    if source is None:
        raise UserError(f"data set '{name}': no source; name a folder, a zip, a tar or a URL in "
                        f"{variable_name(name)}, in the environment or in .env")
    if _is_url(source):
        return _download(source, sha256, target, variable_name(name))
    path = Path(os.path.expanduser(source))
    if path.is_dir():
        with replacing(target) as partial:
            pack_folder(path, partial)
            return _checked_hash(partial, str(path), sha256)
    if not path.is_file():
        raise UserError(f"{variable_name(name)}: '{path}' is neither a file nor a folder"
                        + ("" if path.is_absolute() else "; give an absolute path"))
    return _copy_checked(path, sha256, target)


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _copy_checked(path: Path, sha256: str | None, target: Path) -> str:
    with replacing(target) as partial:
        try:
            shutil.copyfile(path, partial)
        except OSError as error:
            raise UserError(f"{path}: can't be copied ({error.strerror})") from None
        return _checked_hash(partial, str(path), sha256)


def _checked_hash(path: Path, source: str, expected: str | None) -> str:
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if expected is not None and actual != expected.lower():
        raise UserError(f"{source}: sha256 is {actual}, expected {expected}; "
                        "it is another file, or damaged")
    return actual


def _download(url: str, sha256: str | None, target: Path, variable: str) -> str:
    with replacing(target) as partial:
        fetcher = pooch.create(path=partial.parent, base_url="", retry_if_failed=RETRIES,
                               registry={partial.name: None}, urls={partial.name: url})
        try:
            fetcher.fetch(partial.name, downloader=pooch.HTTPDownloader(progressbar=True))
        except (requests.RequestException, ValueError) as error:
            raise UserError(f"{url}: can't be downloaded ({type(error).__name__}); check the "
                            f"network, or name a copy on disk or a mirror in {variable}") from None
        return _checked_hash(partial, url, sha256)
