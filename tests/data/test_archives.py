"""An archive is read whole and as it is, or refused in one line."""

import gzip
import hashlib
import io
import os
import socket
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from archive_files import write_folder, write_tar, write_zip
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refusal

from stages.config.errors import UserError
from stages.data import archives
from stages.data.archives import Archive, pack_folder

FILES = {"b/2.bin": bytes(range(256)) * 5, "b/1.bin": b"one", "a/deep/3.bin": b"", "a.txt": b"top"}
KINDS = {
    "zip": write_zip,
    "stored zip": lambda path, files: write_zip(path, files, zipfile.ZIP_STORED),
    "tar": lambda path, files: write_tar(path, files, "w"),
    "tar.gz": write_tar,
    "tar.xz": lambda path, files: write_tar(path, files, "w:xz"),
    "tar.bz2": lambda path, files: write_tar(path, files, "w:bz2"),
}
OUTSIDE = ["../x", "a/../../x", "a/b/..", "/x", "/tmp/x", "\\x", "..\\x", "a\\..\\..\\x", "C:\\x",
           "C:/x", "c:x", "\\\\server\\share\\x"]
HUGE = archives.MAX_MEMBER_BYTES + 1


def read_all(path):
    """The content of every file by name, after listing the members."""
    archive = Archive(path)
    names = [member.name for member in archive.members() if not member.is_folder]
    positions = {name: position for position, name in enumerate(names)}
    contents = {}
    for position, name, content in archive.read(positions):
        assert positions[name] == position
        contents[name] = content
    assert contents.keys() == positions.keys()
    return contents


def declaring(path, size):
    """Make the one member of the zip at `path` declare `size` bytes, whatever it holds."""
    content = bytearray(path.read_bytes())
    central = content.rindex(b"PK\x01\x02")
    struct.pack_into("<I", content, 22, size)
    struct.pack_into("<I", content, central + 24, size)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_files(tmp_path, kind):
    assert read_all(KINDS[kind](tmp_path / "archive", FILES)) == FILES


@pytest.mark.parametrize("kind", KINDS)
def test_folders_are_told_from_files(tmp_path, kind):
    path = KINDS[kind](tmp_path / "archive", {"a/": b"", "./a/b/": b"", "a/c": b"1"})
    assert [(member.parts, member.is_folder) for member in Archive(path).members()] == [
        (("a",), True), (("a", "b"), True), (("a", "c"), False)]


def test_only_what_is_wanted_is_read(tmp_path):
    path = write_zip(tmp_path / "archive", FILES)
    assert list(Archive(path).read({"b/1.bin": 7, "nowhere": 8})) == [(7, "b/1.bin", b"one")]


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"no tar" * 99)],
                         ids=["empty", "text", "gzip"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "archive"
    path.write_bytes(content)
    assert f"{path}: not a zip or tar archive" in refusal(Archive, path)


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path):
    inner = write_zip(tmp_path / "inner", {"x/1.bin": b"1"}).read_bytes()
    files = {**FILES, "zzz.zip": inner}
    assert read_all(write_tar(tmp_path / "archive", files, "w")) == files


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    path = write_tar(tmp_path / "archive", {"caf\udce9/1.bin": b"1"})
    assert "member 'caf\\udce9/1.bin': the name is not UTF-8; rename it" in refusal(read_all, path)


def test_a_missing_archive_is_refused(tmp_path):
    assert "nowhere" in refusal(Archive, tmp_path / "nowhere")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 0.9, 0.97, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_cut_anywhere_is_refused(tmp_path, kind, share):
    path = KINDS[kind](tmp_path / "archive", FILES)
    content = path.read_bytes()
    end = content.rindex(b"top") if kind == "tar" else len(content) - 1  # zeros follow in a tar
    path.write_bytes(content[:int(share * end)])
    message = refusal(read_all, path)
    assert str(path) in message
    assert "cut off" in message


@pytest.mark.parametrize("members", [1, 2, 3, 4])
def test_a_tar_cut_between_two_members_is_refused(tmp_path, members):
    path = write_tar(tmp_path / "archive", {str(number): b"x" * 512 for number in range(4)}, "w")
    path.write_bytes(path.read_bytes()[:members * 1024])
    assert "cut off" in refusal(read_all, path)


def test_a_tar_with_a_broken_header_does_not_end_there(tmp_path):
    path = write_tar(tmp_path / "archive", {"a": b"1", "b": b"2", "c": b"3"}, "w")
    content = bytearray(path.read_bytes())
    content[1024 + 150] ^= 1  # the checksum of the second member's header
    path.write_bytes(content)
    assert "damaged" in refusal(read_all, path)


@pytest.mark.parametrize("kind", ["zip", "stored zip", "tar.gz", "tar.xz"])
@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_gives_the_same_bytes(tmp_path_factory, kind, data):
    path = KINDS[kind](tmp_path_factory.mktemp("damaged") / "archive", FILES)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        contents = read_all(path)
    except UserError:
        contents = {}
    assert {name: contents[name] for name in contents if name in FILES}.items() <= FILES.items()


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2,
                                         zipfile.ZIP_LZMA])
def test_a_zip_whose_compressed_bytes_are_damaged_is_refused(tmp_path, compression):
    path = write_zip(tmp_path / "archive", {"a.txt": bytes(range(256)) * 9}, compression)
    content = bytearray(path.read_bytes())
    start = content.index(b"a.txt") + len(b"a.txt") + 10
    content[start:start + 10] = b"\xff" * 10
    path.write_bytes(content)
    assert "member 'a.txt': damaged" in refusal(read_all, path)


def with_name(path, name):
    """Give the one member of the zip at `path`, named "a.txt", the five bytes `name` as UTF-8."""
    content = bytearray(path.read_bytes().replace(b"a.txt", name))
    content[content.index(b"PK\x01\x02") + 9] |= 0x08
    path.write_bytes(content)
    return path


def test_a_zip_with_a_name_that_is_no_text_is_refused(tmp_path):
    path = with_name(write_zip(tmp_path / "archive", {"a.txt": b"1"}), b"a\xfft.t")
    assert "damaged" in refusal(read_all, path)


def test_a_zip_with_an_empty_name_has_a_member_without_one(tmp_path):
    path = with_name(write_zip(tmp_path / "archive", {"a.txt": b"1"}), b"\0.txt")
    assert [member.parts for member in Archive(path).members()] == [()]


@pytest.mark.parametrize(("local", "central", "value", "told"), [
    (6, 8, 1, "encrypted"), (8, 10, 99, "compression method"),
], ids=["encrypted", "unknown compression"])
def test_a_zip_that_python_cannot_unpack_is_refused(tmp_path, local, central, value, told):
    path = write_zip(tmp_path / "archive", {"a.txt": b"1"})
    content = bytearray(path.read_bytes())
    content[local] = content[content.index(b"PK\x01\x02") + central] = value
    path.write_bytes(content)
    message = refusal(read_all, path)
    assert "member 'a.txt'" in message
    assert told in message


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_a_member_that_points_outside_is_refused(tmp_path, kind, name):
    path = KINDS[kind](tmp_path / "archive", {"good": b"1", name: b"2"})
    for call in (Archive(path).members, lambda: list(Archive(path).read({"good": 0}))):
        message = refusal(call)
        assert "outside the folder" in message
        assert name in message


@pytest.mark.parametrize("name", ["a..b/c..d", "...", "a/..b/c", "a/b:c", "10:30/a"])
def test_a_name_with_dots_or_colons_may_point_inside(tmp_path, name):
    assert read_all(write_tar(tmp_path / "archive", {name: b"1"})) == {name: b"1"}


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_a_zip_member_that_is_a_link_or_device_is_refused(tmp_path, mode):
    path = tmp_path / "archive"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("a/link")
        info.external_attr = (mode | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    message = refusal(read_all, path)
    assert "'a/link' is a link or a device" in message


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE,
                                  tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_a_tar_member_that_is_a_link_or_device_is_refused(tmp_path, kind):
    path = tmp_path / "archive"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("a/link")
        info.type, info.linkname = kind, "target"
        archive.addfile(info)
    assert "'a/link' is a link or a device" in refusal(read_all, path)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
                                  tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE])
def test_a_name_or_attributes_that_fill_memory_are_refused_unread(tmp_path, kind, first):
    plain, long = tarfile.TarInfo("a"), tarfile.TarInfo("long")
    long.type, long.size = kind, HUGE
    headers = [long.tobuf(), bytes(HUGE), plain.tobuf()]
    path = tmp_path / "archive"
    path.write_bytes(gzip.compress(b"".join(headers if first else [plain.tobuf(), *headers]), 1))
    tracemalloc.start()
    message = refusal(read_all, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message.startswith(str(path))
    assert peak < HUGE / 4


def size_in_header(info):
    info.size = -tarfile.BLOCKSIZE


def size_in_attributes(info):
    info.pax_headers = {"size": str(-tarfile.BLOCKSIZE)}


@pytest.mark.parametrize("negative", [size_in_header, size_in_attributes])
def test_a_size_below_zero_is_refused(tmp_path, negative):
    """tarfile goes back by it, to the same header again, without end."""
    path = tmp_path / "archive"
    second = tarfile.TarInfo("second")
    negative(second)
    form = tarfile.PAX_FORMAT if second.pax_headers else tarfile.GNU_FORMAT
    path.write_bytes(tarfile.TarInfo("first").tobuf() + second.tobuf(form) + bytes(1024))
    assert f"damaged or cut off (a member of -{tarfile.BLOCKSIZE} bytes)" in refusal(
        read_all, path)


def test_a_long_name_is_read(tmp_path):
    name = "/".join(["deep"] * 100)
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "archive", "w", format=kind) as archive:
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
        assert read_all(tmp_path / "archive") == {name: b"abc"}


@pytest.mark.parametrize("headers", [{"GNU.sparse.map": "a,b", "GNU.sparse.size": "1"},
                                     {"GNU.sparse.size": "zz", "GNU.sparse.numblocks": "1"}])
def test_a_sparse_file_with_a_broken_map_is_refused(tmp_path, headers):
    path = tmp_path / "archive"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("first"))
        info = tarfile.TarInfo("sparse")
        info.pax_headers = headers
        archive.addfile(info)
    assert refusal(read_all, path).startswith(str(path))


def gnu_sparse(info):
    info.type = tarfile.GNUTYPE_SPARSE


def pax_sparse(info):
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0",
                        "GNU.sparse.name": "sparse", "GNU.sparse.realsize": "3"}


@pytest.mark.parametrize("sparse", [gnu_sparse, pax_sparse])
def test_a_sparse_file_is_refused_before_its_map_is_read(tmp_path, sparse):
    path = tmp_path / "archive"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("first"))
        info = tarfile.TarInfo("sparse")
        sparse(info)
        info.size = HUGE
        archive.addfile(info, io.BytesIO(b"8388608\n" + b"1\n" * (HUGE // 2)))
    tracemalloc.start()
    message = refusal(read_all, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "damaged or cut off (a sparse file)" in message
    assert peak < HUGE / 4


def bomb_in_zip(path):
    return write_zip(path, {"bomb": bytes(HUGE)})


def bomb_declared_in_zip(path):
    return declaring(write_zip(path, {"bomb": b"small"}), HUGE)


def bomb_declared_in_tar(path):
    info = tarfile.TarInfo("bomb")
    info.size = HUGE
    path.write_bytes(gzip.compress(info.tobuf()))
    return path


def bomb_in_tar(path):
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        info = tarfile.TarInfo("bomb")
        info.size = HUGE
        archive.addfile(info, io.BytesIO(bytes(HUGE)))
    return path


@pytest.mark.parametrize("make", [bomb_in_zip, bomb_declared_in_zip, bomb_in_tar,
                                  bomb_declared_in_tar])
def test_a_member_of_more_than_64_mib_is_refused_unread(tmp_path, make):
    path = make(tmp_path / "archive")
    tracemalloc.start()
    try:
        message = refusal(lambda: list(Archive(path).read({"bomb": 0})))
        assert "'bomb'" in message
        assert "decompression bomb" in message
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("make", [bomb_in_zip, bomb_declared_in_zip, bomb_in_tar])
def test_a_large_member_that_nobody_reads_is_no_matter(tmp_path, make):
    """A film beside the pictures, say."""
    path = make(tmp_path / "archive")
    assert [member.name for member in Archive(path).members()] == ["bomb"]
    assert list(Archive(path).read({"picture": 0})) == []


def test_a_member_that_holds_more_than_it_declares_is_not_inflated(tmp_path):
    path = declaring(write_zip(tmp_path / "archive", {"bomb": bytes(HUGE)}), 100)
    tracemalloc.start()
    try:
        assert "damaged" in refusal(read_all, path)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_many_members_that_unpack_to_too_much_are_refused(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 100_000)
    files = {f"{number}": bytes(50_000) for number in range(4)}
    path = KINDS[kind](tmp_path / "archive", files)
    assert archives.MAX_RATIO * path.stat().st_size < 4 * 50_000
    assert "member '2' unpacks to more" in refusal(read_all, path)


def test_a_large_archive_may_hold_more_than_the_least_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 100)
    path = write_zip(tmp_path / "archive", FILES, zipfile.ZIP_STORED)
    assert read_all(path) == FILES


def test_a_packed_folder_gives_its_files_and_empty_folders(tmp_path):
    folder = write_folder(tmp_path / "folder", {**FILES, "empty/": b""})
    pack_folder(folder, tmp_path / "archive")
    assert read_all(tmp_path / "archive") == FILES
    assert "empty" in [m.name for m in Archive(tmp_path / "archive").members() if m.is_folder]


def packed_hash(folder):
    pack_folder(folder, folder.with_name("archive"))
    return hashlib.sha256(folder.with_name("archive").read_bytes()).hexdigest()


def test_a_folder_packs_to_bytes_that_depend_on_its_content_alone(tmp_path):
    first = write_folder(tmp_path / "1" / "folder", FILES)
    second = write_folder(tmp_path / "2" / "another name", dict(reversed(FILES.items())))
    for number, path in enumerate(sorted(second.rglob("*"))):
        path.chmod(0o700)
        os.utime(path, (10**9, 10**9 + number))
    assert packed_hash(first) == packed_hash(second)


def test_the_order_in_which_a_disk_lists_a_folder_does_not_matter(tmp_path, monkeypatch):
    folder, walk = write_folder(tmp_path / "folder", FILES), os.walk

    def ordered(reverse):
        def walk_in_order(*arguments, **options):
            for base, folders, files in walk(*arguments, **options):
                folders.sort(reverse=reverse)
                files.sort(reverse=reverse)
                yield base, folders, files
        return walk_in_order

    hashes = set()
    for reverse in (False, True):
        monkeypatch.setattr(os, "walk", ordered(reverse))
        hashes.add(packed_hash(folder))
    assert len(hashes) == 1


@pytest.mark.parametrize("change", [
    lambda folder: (folder / "a.txt").write_text("other"),
    lambda folder: (folder / "a.txt").rename(folder / "b.txt"),
    lambda folder: (folder / "new").mkdir(),
], ids=["content", "name", "folder"])
def test_another_content_packs_to_other_bytes(tmp_path, change):
    folder = write_folder(tmp_path / "folder", FILES)
    before = packed_hash(folder)
    change(folder)
    assert packed_hash(folder) != before


def test_what_is_hidden_is_no_content(tmp_path):
    folder = write_folder(tmp_path / "folder", FILES)
    before = packed_hash(folder)
    (folder / "b" / ".DS_Store").write_bytes(b"of a file manager")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "link").symlink_to("nowhere")
    assert packed_hash(folder) == before


@pytest.mark.parametrize("target", ["a.txt", "b", "nowhere", "/etc/passwd"])
def test_a_link_in_a_folder_is_refused(tmp_path, target):
    folder = write_folder(tmp_path / "folder", FILES)
    (folder / "b" / "link").symlink_to(target)
    message = refusal(pack_folder, folder, tmp_path / "archive")
    assert str(folder / "b" / "link") in message
    assert "is a link" in message


def test_a_pipe_or_socket_in_a_folder_is_refused_unopened(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was opened"))
    monkeypatch.chdir(tmp_path)  # a socket's path may not be long
    for name in ("pipe", "socket"):
        Path(name).mkdir()
    os.mkfifo("pipe/file")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket/file")
        for name in ("pipe", "socket"):
            assert f"{name}/file: is a link or a device" in refusal(
                pack_folder, Path(name), Path("archive"))


@pytest.mark.parametrize("broken", ["folder", "file"])
def test_what_cannot_be_read_is_named_and_not_left_out(tmp_path, monkeypatch, broken):
    folder = write_folder(tmp_path / "folder", FILES)
    there = folder / ("b" if broken == "folder" else "b/1.bin")
    scandir, read_bytes = os.scandir, Path.read_bytes

    def deny(call):
        def checked(path):
            if Path(path) == there:
                raise PermissionError(13, "Permission denied", str(path))
            return call(path)
        return checked

    monkeypatch.setattr(os, "scandir", deny(scandir))
    monkeypatch.setattr(Path, "read_bytes", deny(read_bytes))
    message = refusal(pack_folder, folder, tmp_path / "archive")
    assert f"{there}: can't be read (Permission denied)" in message


def test_a_file_name_that_is_no_text_is_refused(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    try:
        (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(b"1")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    assert "not UTF-8" in refusal(pack_folder, folder, tmp_path / "archive")


def test_a_backslash_in_a_name_is_refused_where_it_would_be_read_as_a_folder(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a\\b.png").write_bytes(b"1")
    assert "backslash in its name" in refusal(pack_folder, folder, tmp_path / "archive")
