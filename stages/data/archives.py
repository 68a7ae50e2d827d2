"""Reading a zip or a tar without extracting it, and packing a folder into a zip.

Nothing of an archive is ever written to disk under a name that the archive chose. A member whose
name points outside, a link, and more bytes than the archive can honestly hold are refused.
"""

import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from stages.config.errors import UserError

MAX_MEMBER_BYTES = 64 * 2**20
MAX_TOTAL_BYTES = 2**30
MAX_RATIO = 100
MAX_HEADER_BYTES = 2**15  # tarfile searches attributes in time that grows with the square
READ_BYTES = 4096
DRIVE = re.compile("[A-Za-z]:")
FIXED_DATE = (1980, 1, 1, 0, 0, 0)
# Of what stands between a header and its member, tarfile reads these whole.
HEADERS_READ_WHOLE = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE,
                      tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError,
          NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Member:
    """A file or folder of an archive: its name's parts, and whether it is a folder."""

    parts: tuple[str, ...]
    is_folder: bool

    @property
    def name(self) -> str:
        return "/".join(self.parts)


class Archive:
    """A zip or tar on disk, told apart by content.

    Raises:
        UserError: by every method, for an archive that is damaged or hostile.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # A tar first: one that ends with a small zip looks like a zip as well.
        if _is_tar(path):
            self._entries: Callable[[], Iterator[_Entry]] = self._tar_entries
        elif zipfile.is_zipfile(path):
            self._entries = self._zip_entries
        else:
            raise UserError(f"{path}: not a zip or tar archive, or cut off; fetch it again")

    def members(self) -> list[Member]:
        """Every file and folder, in the archive's order."""
        return [Member(_safe_parts(entry, self.path), entry.is_folder)
                for entry in self._checked_entries()]

    def read(self, wanted: dict[str, int]) -> Iterator[tuple[int, str, bytes]]:
        """Yield (position, name, bytes) of each member in `wanted`, in the archive's order."""
        for entry in self._checked_entries():
            name = "/".join(_safe_parts(entry, self.path))
            if not entry.is_folder and name in wanted:
                if entry.size > MAX_MEMBER_BYTES:
                    raise self._bomb(entry)
                try:
                    content = entry.read()
                except DAMAGE as error:
                    raise self._damaged(error, name) from None
                yield wanted[name], name, content

    def _checked_entries(self) -> Iterator["_Entry"]:
        total, limit = 0, max(MAX_TOTAL_BYTES, MAX_RATIO * self.path.stat().st_size)
        try:
            for entry in self._entries():
                total += entry.size
                if total > limit:
                    raise self._bomb(entry)
                yield entry
        except DAMAGE as error:
            raise self._damaged(error) from None

    def _bomb(self, entry: "_Entry") -> UserError:
        return UserError(f"{self.path}: member '{entry.name}' unpacks to more than a data set of "
                         "pictures holds; refused as a decompression bomb")

    def _damaged(self, error: BaseException, name: str = "") -> UserError:
        where = f", member '{name}'" if name else ""
        return UserError(f"{self.path}{where}: damaged or cut off ({str(error).strip()}); "
                         "fetch it again")

    def _zip_entries(self) -> Iterator["_Entry"]:
        with zipfile.ZipFile(self.path) as archive:
            for info in archive.infolist():
                mode = info.external_attr >> 16
                yield _Entry(info.filename, info.filename.endswith("/"), _is_special(mode),
                             info.file_size, lambda info=info: _read_declared(archive, info))

    def _tar_entries(self) -> Iterator["_Entry"]:
        with tarfile.open(self.path, tarinfo=_Header) as archive:
            for info in archive:
                yield _Entry(info.name, info.isdir(), not (info.isdir() or info.isreg()),
                             info.size, lambda info=info: archive.extractfile(info).read())
            # tarfile takes a cut, or a broken header, between two members for the end.
            archive.fileobj.seek(archive.offset)
            end = archive.fileobj.read(MAX_MEMBER_BYTES)  # up to the checksum of gzip or xz
            if end[:tarfile.BLOCKSIZE] != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("no end mark")


@dataclass(frozen=True)
class _Entry:
    name: str
    is_folder: bool
    is_special: bool
    size: int
    read: Callable[[], bytes]


class _Header(tarfile.TarInfo):
    """A tar's header, refused where what follows it is read at once and can fill memory: a long
    name or attributes, or a sparse file's map, which no picture has; and where a size below zero
    leads back to what was read.
    """

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """What tarfile calls for each header, and says may be overridden."""
        if self.type in HEADERS_READ_WHOLE and self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a sparse file")
        # Its own size, and what attributes make of it.
        member = self if self.size < 0 else super()._proc_member(archive)
        if member.size < 0:
            raise tarfile.ReadError(f"a member of {member.size} bytes")
        return member

    def _proc_gnusparse_10(self, *_: Any) -> NoReturn:
        raise tarfile.ReadError("a sparse file")


def _is_tar(path: Path) -> bool:
    try:
        with tarfile.open(path, tarinfo=_Header):
            return True
    except DAMAGE:
        return False


def _read_declared(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Read `info` in small steps: in one, a member that holds more than it declares is inflated
    whole before it is cut to the declared size.
    """
    with archive.open(info) as file:
        return b"".join(iter(lambda: file.read(READ_BYTES), b""))


def _is_special(mode: int) -> bool:
    """Whether Unix `mode` is neither a plain file nor a folder; zips made elsewhere have none."""
    return stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR)


def _safe_parts(entry: _Entry, path: Path) -> tuple[str, ...]:
    pure = PurePosixPath(entry.name.replace("\\", "/"))
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        raise UserError(f"{path}: member {entry.name!a}: the name is not UTF-8; rename it"
                        ) from None
    if entry.is_special:
        raise UserError(f"{path}: member '{entry.name}' is a link or a device; only files and "
                        "folders are read")
    if pure.is_absolute() or ".." in pure.parts or DRIVE.match(entry.name):
        raise UserError(f"{path}: member '{entry.name}' would land outside the folder; "
                        "the archive is refused")
    return pure.parts


def pack_folder(folder: Path, target: Path) -> None:
    """Write `folder` to `target` as an uncompressed zip whose bytes depend on its content alone.

    What is hidden is left out: no reader takes it, and file managers leave such files.

    Raises:
        UserError: a link, a device or a backslash in a name in the folder, or a file or folder
            that can't be read.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for base, folders, files in os.walk(folder, onerror=_unreadable):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            files = [name for name in files if not name.startswith(".")]
            here = Path(base)
            for name in folders + sorted(files):
                path = here / name
                if "\\" in name:  # which stands for "/" in archives made on Windows
                    raise UserError(f"{path}: has a backslash in its name; rename it")
                if path.is_symlink() or not (path.is_dir() or path.is_file()):
                    raise UserError(f"{path}: is a link or a device; only files and folders are "
                                    "read")
                relative = path.relative_to(folder).as_posix() + ("/" if path.is_dir() else "")
                content = b"" if path.is_dir() else _content(path)
                try:
                    archive.writestr(zipfile.ZipInfo(relative, FIXED_DATE), content)
                except UnicodeEncodeError:
                    raise UserError(f"{str(path)!a}: the name is not UTF-8; rename it") from None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        _unreadable(error)


def _unreadable(error: OSError) -> NoReturn:
    raise UserError(f"{error.filename}: can't be read ({error.strerror})") from None
