"""What a file store keeps open for the next one: of the right folder, and never for good."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from drivebay.errors import StorageFailed
from drivebay.storage import file
from drivebay.storage.file import FileStore
from drivebay.storage.idle import IdleDescriptors

SIZE = 8192


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(folder) -> FileStore:
    made = FileStore("default", "default", folder)
    made.prepare("identity", first=True)
    return made


@pytest.fixture
def volume(store) -> UUID:
    uuid = uuid4()
    store.create(uuid, SIZE)
    return uuid


def kept_open(folder: Path) -> list[Path]:
    paths = []
    for link in Path("/proc/self/fd").iterdir():
        # The one that lists them is closed by now.
        with suppress(FileNotFoundError):
            paths.append(link.readlink())
    return [path for path in paths if path.parent == folder and path.suffix == ".volume"]


def replace_by_copy(folder: Path) -> None:
    old = folder.with_name("old")
    folder.rename(old)
    shutil.copytree(old, folder)


def write(store: FileStore, uuid: UUID, data: bytes) -> None:
    with store.open(uuid) as volume:
        volume.pwrite(0, memoryview(data))


def test_a_folder_that_was_put_in_the_place_of_another_is_the_one_written_to(store, folder, volume):
    write(store, volume, b"before")
    replace_by_copy(folder)

    assert store.is_reachable()
    write(store, volume, b"after!")

    assert (folder / f"{volume}.volume").read_bytes()[:6] == b"after!"


def test_what_was_in_use_while_its_folder_was_replaced_is_not_kept(store, folder, volume):
    with store.open(volume):
        replace_by_copy(folder)
        assert store.is_reachable()

    write(store, volume, b"after!")

    assert (folder / f"{volume}.volume").read_bytes()[:6] == b"after!"


def test_everything_is_given_back_at_once_where_nothing_may_be_kept(store, folder, volume):
    write(store, volume, b"data")
    assert kept_open(folder)

    store.close_idle(unused_s=0.0)

    assert not kept_open(folder)


def test_a_kept_descriptor_that_fails_is_closed(store, folder, volume, monkeypatch):
    write(store, volume, b"data")

    def fail(_fd: int) -> os.stat_result:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(file.os, "fstat", fail)
        with pytest.raises(StorageFailed):
            store.open(volume)

    assert not kept_open(folder)


def test_nothing_stays_open_when_the_store_goes():
    idle = IdleDescriptors()
    fd = os.open("/", os.O_RDONLY)
    idle.give(uuid4(), fd)

    del idle

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
