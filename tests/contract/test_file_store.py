"""The store in a directory and its volumes keep the contract, between processes too."""

import ctypes
import errno
import os
import struct
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from contract.lock_contract import LONG_S, SIZE, LockContract
from contract.stacks import SECTOR, Kept, Stack, pattern, read, writable
from contract.store_contract import StoreContract
from contract.volume_contract import VolumeContract
from contract.volume_machine import check_histories
from drivebay.errors import OutOfSpace, SetupFailed, StorageFailed
from drivebay.storage import file
from drivebay.storage.copy import PIECE, copy_raw
from drivebay.storage.file import FileStore
from drivebay.storage.memory import MemoryStore
from drivebay.units import MIB

HAMMER = Path(__file__).with_name("hammer.py")
UUID_TEXT = "0012e24a-6eae-4279-9912-3432f698cec8"


@pytest.fixture
def folder(tmp_path: Path):
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path):
    made = FileStore("kept-here", "shelf-1", folder)
    made.prepare("0123", first=True)
    return made


@pytest.fixture
def stack(store: FileStore):
    return Stack(store)


class TestFileStore(StoreContract):
    pass


class TestFileVolume(VolumeContract):
    pass


class TestFileVolumeLocks(LockContract):
    pass


def hammer(verb: str, folder: Path, kept: Kept, *words: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, str(HAMMER), verb, str(folder), str(kept.uuid), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


class TestProcesses:
    def test_exclusive_holders_in_several_processes_take_turns(self, folder, stack):
        kept = stack.make(SIZE)
        counting = [hammer("count", folder, kept, "300") for _ in range(3)]
        for process in counting:
            process.communicate(timeout=LONG_S)

        assert [process.returncode for process in counting] == [0, 0, 0]
        with kept.open() as volume:
            assert int.from_bytes(read(volume, 0, 8), "little") == 900

    def test_a_holder_that_is_killed_gives_the_range_back(self, folder, stack):
        kept = stack.make(SIZE)
        with hammer("hold", folder, kept) as holder:
            assert holder.stdout.readline() == b"held\n"
            holder.kill()

            with kept.open() as volume, volume.locked(0, SIZE, shared=False):
                volume.pwrite(0, writable(b"mine"))


class TestSharedBlocks:
    """What the kernel does on a file system that can share blocks is done here by copying."""

    @pytest.fixture
    def shared(self, monkeypatch):
        ranges = []

        def clone(fd: int, request: int, argument: bytes) -> int:
            assert request == 0x4020940D
            source, offset, length, to = struct.unpack("=qQQQ", argument)
            assert os.pwrite(fd, os.pread(source, length, offset), to) == length
            ranges.append((offset, length))
            return 0

        monkeypatch.setattr(file.fcntl, "ioctl", clone)
        return ranges

    def test_a_copy_shares_data_by_the_piece_and_makes_holes_itself(self, stack, shared):
        content = pattern(PIECE + SECTOR) + bytes(PIECE) + pattern(100, seed=2)
        source, destination = stack.make(len(content)), stack.make(len(content))
        with source.open() as one, destination.open() as other:
            one.pwrite(0, writable(content))
            other.pwrite(0, writable(pattern(len(content), seed=3)))

            with source.open() as origin, destination.open() as to:
                copy_raw(one, other, [(origin, to)], start=0, progress=lambda _: None)

            assert read(other) == content
            assert other.allocated() < len(content) - PIECE + 2 * SECTOR
        assert shared == [(0, PIECE), (PIECE, SECTOR), (2 * PIECE + SECTOR, 100)]

    @pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOSPC])
    def test_what_cannot_be_shared_is_said(self, stack, monkeypatch, number):
        def refuse(*_: object) -> int:
            raise OSError(number, "no")

        monkeypatch.setattr(file.fcntl, "ioctl", refuse)
        with stack.make(SIZE).open() as one, stack.make(SIZE).open() as other:
            assert not other.share(one, 0, SIZE)

    def test_nothing_is_shared_with_another_kind_of_store(self, stack, shared):
        other_stack = Stack(MemoryStore("memory", "domain"))
        with other_stack.make(SIZE).open() as one, stack.make(SIZE).open() as other:
            assert not other.share(one, 0, SIZE)
        assert shared == []


class TestFolder:
    def test_files_are_the_owners_alone_and_as_long_as_their_volumes(self, folder, store):
        uuid = uuid4()
        store.create(uuid, SIZE)

        made = (folder / f"{uuid}.volume").stat()
        assert (made.st_mode & 0o777, made.st_size) == (0o600, SIZE)

    def test_a_volume_holds_its_bytes_as_they_are(self, folder, stack):
        kept = stack.make(SIZE)
        with kept.open() as volume:
            volume.pwrite(0, writable(pattern(SIZE)))

        assert (folder / f"{kept.uuid}.volume").read_bytes() == pattern(SIZE)

    @pytest.mark.parametrize(
        "name",
        [
            "notes.txt",
            "notes.volume",
            f"{UUID_TEXT.replace('-', '')}.volume",
            f"{UUID_TEXT.upper()}.volume",
            f"{{{UUID_TEXT}}}.volume",
        ],
    )
    def test_other_files_in_the_folder_are_no_volumes(self, folder, store, name):
        (folder / name).write_bytes(b"x")

        assert list(store.volumes()) == []

    def test_a_folder_or_a_link_in_a_volumes_place_is_not_a_volume(self, folder, store, tmp_path):
        directory, link, dangling = uuid4(), uuid4(), uuid4()
        (tmp_path / "elsewhere").write_bytes(bytes(SIZE))
        (folder / f"{directory}.volume").mkdir()
        (folder / f"{link}.volume").symlink_to(tmp_path / "elsewhere")
        (folder / f"{dangling}.volume").symlink_to(tmp_path / "nowhere")

        for uuid in (directory, link, dangling):
            assert not store.has(uuid)
            with pytest.raises(StorageFailed):
                store.open(uuid)
            with pytest.raises(StorageFailed):
                store.create(uuid, SIZE)

    def test_a_file_that_was_cut_behind_our_back_is_a_failure_and_not_zeros(self, folder, stack):
        kept = stack.make(SIZE)
        with kept.open() as volume:
            volume.pwrite(0, writable(pattern(SIZE)))
            with (folder / f"{kept.uuid}.volume").open("r+b") as cut:
                cut.truncate(100)

            with pytest.raises(StorageFailed) as failure:
                read(volume)

        assert failure.value.offset == 100

    def test_a_size_that_no_file_can_have_is_refused(self, store):
        uuid = uuid4()
        with pytest.raises(OutOfSpace, match="cannot hold a volume of that size"):
            store.create(uuid, 2**63)
        assert list(store.volumes()) == []

        store.create(uuid, SIZE)
        with store.open(uuid) as volume:
            with pytest.raises(OutOfSpace):
                volume.resize(2**63)
            assert volume.size == SIZE


class TestMarker:
    def test_a_store_is_reachable_with_its_own_marker_only(self, folder, store):
        again = FileStore("kept-here", "shelf-1", folder)
        again.prepare("0123", first=False)
        assert again.is_reachable()

        for name, identity in [("other", "0123"), ("kept-here", "4567")]:
            stranger = FileStore(name, "shelf-1", folder)
            stranger.prepare(identity, first=False)
            assert not stranger.is_reachable()
            with pytest.raises(SetupFailed, match="store of another data folder or name"):
                stranger.prepare(identity, first=True)
        assert store.is_reachable()

    def test_an_empty_folder_in_its_place_is_not_the_store(self, folder, store, tmp_path):
        uuid = uuid4()
        store.create(uuid, SIZE)
        folder.rename(tmp_path / "unmounted")
        assert not store.is_reachable()
        assert not store.has(uuid)

        folder.mkdir()
        again = FileStore("kept-here", "shelf-1", folder)
        again.prepare("0123", first=False)
        assert not again.is_reachable()
        assert list(folder.iterdir()) == []

        folder.rmdir()
        (tmp_path / "unmounted").rename(folder)
        assert store.is_reachable()
        assert store.has(uuid)

    def test_a_folder_that_cannot_be_made_is_told(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        store = FileStore("kept-here", "shelf-1", tmp_path / "file" / "store")

        with pytest.raises(SetupFailed, match="cannot be set up"):
            store.prepare("0123", first=True)


class _NoHoles:
    """libc on a file system that cannot punch holes."""

    def fallocate(self, *_):
        ctypes.set_errno(errno.EOPNOTSUPP)
        return -1


class TestWithoutHolePunching:
    @pytest.fixture(autouse=True)
    def _no_holes(self, monkeypatch):
        monkeypatch.setattr(file, "_libc", _NoHoles())

    def test_any_history_reads_as_it_does_beside_plain_bytes(self, stack):
        check_histories(stack, gives_back=False)

    def test_zeros_are_written_where_there_is_data_and_holes_stay(self, stack):
        large = 1024 * SECTOR
        with stack.make(large).open() as volume:
            volume.pwrite(512 * SECTOR, writable(pattern(SECTOR)))
            volume.zero(0, large)
            volume.pwrite(0, memoryview(bytes(large)))

            assert read(volume) == bytes(large)
            assert volume.allocated() < large // 10


def test_reserved_room_is_taken_from_the_file_system(tmp_path):
    volume = 8 * MIB
    store = FileStore("one", "here", tmp_path / "store")
    store.prepare("identity", first=True)
    uuid = uuid4()
    store.create(uuid, volume)
    with store.open(uuid) as opened:
        opened.reserve(MIB, 4 * MIB)

        assert opened.allocated() >= 4 * MIB
