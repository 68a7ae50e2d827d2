"""Where an archive comes from, and what is left behind when it does not come."""

import hashlib
import shutil
import time
from importlib import resources
from pathlib import Path

import pytest
import requests
from archive_files import write_folder
from local_server import serving
from refusals import refusal

from stages.data import sources
from stages.data.archives import Archive
from stages.data.sources import named_source, obtain, variable_name

pytestmark = pytest.mark.usefixtures("workplace")

CONTENT = b"the bytes of an archive" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = "0" * 64
CLOSED = "http://127.0.0.1:9/archive.zip"  # the discard port: nothing listens


@pytest.fixture
def waits(monkeypatch):
    """The seconds that were to be slept, without sleeping."""
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out" / "archive"


def left_in(target):
    return sorted(path.name for path in target.parent.glob("*"))


@pytest.fixture
def fetch(target, monkeypatch):
    """fetch(source, sha256): the data set pets, obtained from `source`."""
    def obtain_pets(source, sha256=None):
        monkeypatch.setenv("DATA_SOURCE_PETS", str(source))
        return obtain("pets", "imagefolder", sha256, target)
    return obtain_pets


@pytest.fixture
def refused(fetch, target):
    """refused(source, sha256): the message; nothing is left."""
    def told(*arguments):
        message = refusal(fetch, *arguments)
        assert left_in(target) == []
        return message
    return told


def hash_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("name", "variable"), [
    ("cifar10", "DATA_SOURCE_CIFAR10"), ("cifar10_jpeg", "DATA_SOURCE_CIFAR10_JPEG"),
    ("my pets-2", "DATA_SOURCE_MY_PETS_2"), ("é", "DATA_SOURCE__"),
])
def test_the_variable_follows_from_the_name(name, variable):
    assert variable_name(name) == variable


def test_without_any_source_there_is_none():
    assert named_source("pets") is None


def test_the_environment_names_the_source(monkeypatch):
    monkeypatch.setenv("DATA_SOURCE_PETS", "folder/pets.zip")
    assert named_source("pets") == "folder/pets.zip"
    assert named_source("dogs") is None


@pytest.mark.parametrize("where", [".", "..", "../.."])
def test_a_dotenv_file_here_or_above_names_the_source(workplace, monkeypatch, where):
    (workplace / ".env").unlink()
    inner = workplace / "one" / "two"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    folder = (inner / where).resolve()
    (folder / ".env").write_text("DATA_SOURCE_PETS=data/pets.zip\n")
    assert Path(named_source("pets")) == folder / "data" / "pets.zip"


@pytest.mark.parametrize(("value", "expected"), [
    ("/somewhere/pets.zip", "/somewhere/pets.zip"),
    ("https://example.org/pets.zip", "https://example.org/pets.zip"), ("~/pets", "/home/me/pets"),
    ("'with space.zip'  # mine", "with space.zip"), ("", None),
])
def test_a_dotenv_value_may_be_absolute_or_a_url(workplace, monkeypatch, value, expected):
    monkeypatch.setenv("HOME", "/home/me")
    (workplace / ".env").write_text(f"DATA_SOURCE_PETS={value}\n")
    given = named_source("pets")
    assert given == (str(workplace / expected) if value.startswith("'") else expected)


def test_the_environment_wins_over_a_dotenv_file(workplace, monkeypatch):
    (workplace / ".env").write_text("DATA_SOURCE_PETS=/from/dotenv\n")
    assert named_source("pets") == "/from/dotenv"
    monkeypatch.setenv("DATA_SOURCE_PETS", "/from/environment")
    assert named_source("pets") == "/from/environment"
    monkeypatch.setenv("DATA_SOURCE_PETS", "")
    assert named_source("pets") == "/from/dotenv"


def test_a_dotenv_file_in_utf_16_is_refused(workplace):
    (workplace / ".env").write_text("DATA_SOURCE_PETS=x\n", encoding="utf-16")
    assert str(workplace / ".env") in refusal(named_source, "pets")


def test_digits_come_from_the_package(target):
    packaged = resources.files("sklearn.datasets.data") / "digits.csv.gz"
    assert obtain("digits", "digits", None, target) == hash_of(target)
    assert target.read_bytes() == packaged.read_bytes()


def test_a_named_source_of_digits_wins_over_the_package(tmp_path, target, monkeypatch):
    (tmp_path / "mine").write_bytes(CONTENT)
    monkeypatch.setenv("DATA_SOURCE_DIGITS", str(tmp_path / "mine"))
    obtain("digits", "digits", None, target)
    assert target.read_bytes() == CONTENT


def test_cifar10_comes_from_its_home_page_when_no_source_is_named(target, monkeypatch, waits):
    asked = []

    def refuse(url, **_):
        asked.append(url)
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "get", refuse)
    message = refusal(obtain, "cifar10", "cifar10", SHA256, target)
    assert set(asked) == {sources.CIFAR10_URL}
    assert "DATA_SOURCE_CIFAR10" in message


def test_pictures_without_a_source_are_refused_with_the_variable(target):
    message = refusal(obtain, "my pets", "imagefolder", None, target)
    assert "no source; name a folder, a zip, a tar or a URL in DATA_SOURCE_MY_PETS" in message
    assert ".env" in message
    assert left_in(target) == []


@pytest.mark.parametrize("sha256", [None, SHA256, SHA256.upper()])
def test_a_file_is_copied(tmp_path, target, fetch, sha256):
    (tmp_path / "source").write_bytes(CONTENT)
    assert fetch(tmp_path / "source", sha256) == SHA256
    assert target.read_bytes() == CONTENT
    assert left_in(target) == ["archive"]


def test_a_relative_path_of_the_environment_is_relative_to_the_working_folder(workplace, fetch):
    (workplace / "source").write_bytes(CONTENT)
    assert fetch("source") == SHA256


def test_a_folder_is_packed(tmp_path, target, fetch):
    files = {"cat/1.png": b"1", "dog/1.png": b"2"}
    folder = write_folder(tmp_path / "pets", files)
    sha256 = fetch(folder)
    assert sha256 == hash_of(target)
    assert dict((name, content) for _, name, content in Archive(target).read(
        dict.fromkeys(files, 0))) == files
    assert fetch(folder, sha256) == sha256  # and so it can be pinned


@pytest.mark.parametrize("source", ["file", "folder"])
@pytest.mark.parametrize("sha256", [OTHER, SHA256[:-1], ""])
def test_bytes_with_another_hash_are_refused_and_nothing_is_left(tmp_path, refused, source, sha256):
    (tmp_path / "file").write_bytes(CONTENT)
    write_folder(tmp_path / "folder", {"a": CONTENT})
    message = refused(tmp_path / source, sha256)
    assert str(tmp_path / source) in message
    assert f"expected {sha256};" in message
    assert source == "folder" or SHA256 in message


@pytest.mark.parametrize(("source", "told"), [
    ("nowhere.zip", "give an absolute path"), ("/nowhere/at/all.zip", "neither a file nor"),
    ("ftp://127.0.0.1/x", "neither a file nor"),
])
def test_a_source_that_is_not_there_is_refused(refused, source, told):
    message = refused(source)
    assert message.startswith("DATA_SOURCE_PETS")
    assert told in message


def test_a_link_in_a_source_folder_is_refused_and_nothing_is_left(tmp_path, refused):
    folder = write_folder(tmp_path / "pets", {"cat/1.png": CONTENT})
    (folder / "dog").symlink_to("cat")
    assert "is a link" in refused(folder)


def test_a_file_that_cannot_be_read_is_refused_and_nothing_is_left(tmp_path, refused, monkeypatch):
    def deny(source, partial):
        partial.write_bytes(b"half")
        raise PermissionError(13, "Permission denied", str(source))

    (tmp_path / "source").write_bytes(CONTENT)
    monkeypatch.setattr(shutil, "copyfile", deny)
    assert (f"{tmp_path / 'source'}: can't be copied (Permission denied)"
            in refused(tmp_path / "source"))


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_url_is_downloaded(target, fetch, sha256):
    with serving({"/pets.zip": CONTENT}) as (address, asked):
        assert fetch(f"{address}/pets.zip", sha256) == SHA256
    assert target.read_bytes() == CONTENT
    assert left_in(target) == ["archive"]
    assert asked == ["/pets.zip"]


def test_a_download_with_another_hash_is_refused_at_once(refused, waits):
    with serving({"/pets.zip": CONTENT}) as (address, asked):
        message = refused(f"{address}/pets.zip", OTHER)
    assert message.startswith(f"{address}/pets.zip: sha256 is {SHA256}, expected {OTHER}")
    assert asked == ["/pets.zip"]
    assert waits == []


def test_what_a_killed_download_left_is_not_taken_for_the_archive(target, fetch):
    target.parent.mkdir()
    target.with_name("archive.partial").write_bytes(CONTENT[:100])
    with serving({"/pets.zip": CONTENT}) as (address, _):
        assert fetch(f"{address}/pets.zip") == SHA256


@pytest.mark.parametrize(("path", "missing_bytes", "told"), [
    ("/nowhere.zip", 0, "HTTPError"), ("/pets.zip", 5000, "ChunkedEncodingError"),
], ids=["404", "cut off"])
def test_a_failed_download_is_tried_again_and_leaves_nothing(refused, waits, path, missing_bytes,
                                                             told):
    with serving({"/pets.zip": CONTENT}, missing_bytes) as (address, asked):
        message = refused(address + path)
    assert told in message
    assert asked == [path] * (1 + sources.RETRIES)


def test_no_network_is_told_after_a_few_tries(refused, waits):
    message = refused(CLOSED, SHA256)
    assert message.startswith(CLOSED)
    assert "can't be downloaded" in message
    assert "DATA_SOURCE_PETS" in message
    assert len(waits) == sources.RETRIES
    assert sum(waits) < 20


@pytest.mark.parametrize("url", ["http://", "http://[", "http://127.0.0.1:99999/x"])
def test_a_url_that_is_none_is_refused(refused, waits, url):
    assert refused(url).startswith(url)


class HalfResponse:
    """A download that the user interrupts."""

    def __init__(self, length="100"):
        self.headers = {"content-length": length}

    def raise_for_status(self):
        """All is well so far."""

    def iter_content(self, chunk_size):
        yield b"half"
        raise KeyboardInterrupt


def test_a_server_that_answers_nonsense_is_refused(refused, monkeypatch, waits):
    monkeypatch.setattr(requests, "get", lambda *_, **__: HalfResponse(length="much"))
    assert "can't be downloaded" in refused(CLOSED)


@pytest.mark.parametrize("source", ["file", "folder", "http://127.0.0.1:9/x"])
def test_an_interruption_leaves_the_old_archive_and_no_other_file(tmp_path, target, fetch,
                                                                  monkeypatch, source):
    def interrupt(_, partial):
        Path(partial).write_bytes(b"half")
        raise KeyboardInterrupt

    (tmp_path / "file").write_bytes(CONTENT)
    (tmp_path / "folder").mkdir()
    target.parent.mkdir()
    target.write_bytes(b"old")
    monkeypatch.setattr(shutil, "copyfile", interrupt)
    monkeypatch.setattr(sources, "pack_folder", interrupt)
    monkeypatch.setattr(requests, "get", lambda *_, **__: HalfResponse())
    with pytest.raises(KeyboardInterrupt):
        fetch(source if ":" in source else tmp_path / source)
    assert left_in(target) == ["archive"]
    assert target.read_bytes() == b"old"
