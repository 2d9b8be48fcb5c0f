"""What the file store says and leaves when the disk, the file system or the kernel fails.

Where the real thing is at hand it is used (a limit on the file's size cuts a write in the middle);
else one system call is made to fail.
"""

import ctypes
import errno
import os
import resource
from contextlib import contextmanager
from uuid import uuid4

import pytest

from contract.stacks import SECTOR, Stack, pattern, read, writable
from drivebay.errors import OutOfSpace, SetupFailed, StorageFailed, StoreFull
from drivebay.storage import file
from drivebay.storage.file import FileStore, FileVolume

SIZE = 4 * SECTOR

FULL = [errno.ENOSPC, errno.EDQUOT]
BROKEN = [errno.EIO, errno.EROFS, errno.EACCES, errno.ENOMEM]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(folder):
    made = FileStore("ssd", "shelf-1", folder)
    made.prepare("0123", first=True)
    return made


@pytest.fixture
def volume(store):
    with Stack(store).make(SIZE).open() as made:
        made.pwrite(0, writable(pattern(SIZE)))
        yield made


@pytest.fixture
def fail(monkeypatch):
    """Make a system call fail with *number*, from its *after*-th call on."""

    def begin(name: str, number: int, *, after: int = 0) -> None:
        real, left = getattr(os, name), after

        def call(*args, **options):
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(number, os.strerror(number))
            return real(*args, **options)

        monkeypatch.setattr(file.os, name, call)

    return begin


@pytest.fixture
def fail_punching(monkeypatch):
    """Make the punching of holes fail with *numbers*, one after the other, and then succeed."""

    def begin(*numbers: int) -> None:
        real, left = file._libc, list(numbers)

        class Failing:
            def fallocate(self, *args):
                if left:
                    ctypes.set_errno(left.pop(0))
                    return -1
                return real.fallocate(*args)

        monkeypatch.setattr(file, "_libc", Failing())

    return begin


@contextmanager
def largest_file(size: int):
    """Limit the size of this process's files meanwhile; what pytest prints may go to one, too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestWriting:
    @pytest.mark.parametrize("number", FULL)
    def test_no_room_is_told_as_no_room(self, volume, fail, number):
        fail("pwrite", number)

        with pytest.raises(StoreFull, match="store ssd is full"):
            volume.pwrite(0, writable(b"x"))

    @pytest.mark.parametrize("number", BROKEN)
    def test_any_other_failure_is_told_with_its_place_and_keeps_its_cause(
        self, volume, fail, number
    ):
        fail("pwrite", number)

        with pytest.raises(StorageFailed) as failure:
            volume.pwrite(SECTOR, writable(b"x"))

        assert str(failure.value) == f"the store failed to write at offset {SECTOR}"
        assert failure.value.__cause__.errno == number

    def test_a_write_that_the_kernel_cuts_in_the_middle_goes_on_and_then_fails(self, volume):
        with (
            largest_file(2 * SECTOR + 100),
            pytest.raises(OutOfSpace, match="cannot hold a volume of that size"),
        ):
            volume.pwrite(0, writable(pattern(SIZE, seed=2)))

        written = 2 * SECTOR + 100
        assert read(volume) == pattern(SIZE, seed=2)[:written] + pattern(SIZE)[written:]

    def test_short_writes_are_continued_to_the_end(self, volume, monkeypatch):
        real = os.pwrite
        monkeypatch.setattr(file.os, "pwrite", lambda fd, data, at: real(fd, data[:1000], at))

        volume.pwrite(5, writable(pattern(SECTOR, seed=2)))

        assert read(volume, 5, SECTOR) == pattern(SECTOR, seed=2)

    def test_what_cannot_be_written_to_is_a_failure(self, store, folder):
        kept = Stack(store).make(SIZE)
        fd = os.open(folder / f"{kept.uuid}.volume", os.O_RDONLY)
        with FileVolume(fd, "ssd") as volume:
            with pytest.raises(StorageFailed, match="failed to write"):
                volume.pwrite(0, writable(b"x"))
            with pytest.raises(StorageFailed, match="failed to zero"):
                volume.zero(0, 1)
            with pytest.raises(StorageFailed, match="failed to resize"):
                volume.resize(1)
            with (
                pytest.raises(StorageFailed, match="failed to lock"),
                volume.locked(0, 1, shared=False),
            ):
                pass


class TestZeroing:
    @pytest.mark.parametrize("number", FULL)
    def test_no_room_is_told_as_no_room(self, volume, fail_punching, number):
        fail_punching(number)

        with pytest.raises(StoreFull):
            volume.zero(0, SECTOR)

    def test_any_other_failure_is_told_with_its_place(self, volume, fail_punching):
        fail_punching(errno.EIO)

        with pytest.raises(StorageFailed, match=f"failed to zero at offset {SECTOR}"):
            volume.pwrite(SECTOR, memoryview(bytes(SECTOR)))

    def test_an_interrupted_call_is_made_again(self, volume, fail_punching):
        fail_punching(errno.EINTR, errno.EINTR)

        volume.zero(0, SECTOR)

        assert read(volume) == bytes(SECTOR) + pattern(SIZE)[SECTOR:]

    @pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS])
    def test_zeros_are_written_where_holes_cannot_be_made(self, volume, fail_punching, number):
        fail_punching(number)

        volume.zero(10, SIZE - 20)

        assert read(volume) == pattern(SIZE)[:10] + bytes(SIZE - 20) + pattern(SIZE)[-10:]


class TestReading:
    @pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
    def test_a_failure_is_told_with_its_place(self, volume, fail, number):
        fail("preadv", number)

        with pytest.raises(StorageFailed, match=f"failed to read at offset {SECTOR}"):
            read(volume, SECTOR, 10)

    def test_short_reads_are_continued_to_the_end(self, volume, monkeypatch):
        real = os.preadv
        monkeypatch.setattr(file.os, "preadv", lambda fd, into, at: real(fd, [into[0][:999]], at))

        assert read(volume) == pattern(SIZE)

    def test_extents_that_cannot_be_found_are_a_failure(self, volume, fail):
        fail("lseek", errno.EIO)

        with pytest.raises(StorageFailed, match="find the extents"):
            list(volume.extents(0, SIZE))

    def test_room_that_cannot_be_measured_is_a_failure(self, volume, store, folder, tmp_path):
        volume.close()
        folder.rename(tmp_path / "unmounted")

        with pytest.raises(StorageFailed, match="to measure"):
            volume.allocated()
        with pytest.raises(StorageFailed, match="measure its room"):
            store.free()


class TestFlushing:
    @pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
    def test_a_failed_flush_is_a_failure_and_is_not_tried_again(self, volume, monkeypatch, number):
        """A second one may succeed and prove nothing."""
        calls = []

        def fail_once(fd: int) -> None:
            calls.append(fd)
            if len(calls) == 1:
                raise OSError(number, os.strerror(number))

        monkeypatch.setattr(file.os, "fdatasync", fail_once)

        with pytest.raises(StorageFailed, match="failed to flush"):
            volume.flush()

        assert len(calls) == 1

    @pytest.mark.parametrize("number", FULL)
    def test_room_that_is_missed_only_now_is_told_as_no_room(self, volume, fail, number):
        fail("fdatasync", number)

        with pytest.raises(StoreFull):
            volume.flush()


class TestResizing:
    @pytest.mark.parametrize("name", ["ftruncate", "fsync"])
    def test_a_failure_is_told_and_the_size_is_not_taken_for_changed(self, volume, fail, name):
        fail(name, errno.EIO)

        with pytest.raises(StorageFailed, match="failed to resize"):
            volume.resize(2 * SIZE)

        assert volume.size == SIZE

    def test_a_size_past_the_file_systems_is_no_room(self, volume):
        with largest_file(SIZE), pytest.raises(OutOfSpace, match="cannot hold"):
            volume.resize(SIZE + 1)

        assert volume.size == SIZE


class TestCreating:
    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
    @pytest.mark.parametrize(
        ("name", "after"), [("open", 0), ("ftruncate", 0), ("fsync", 0), ("open", 1), ("fsync", 1)]
    )
    def test_a_failure_at_any_step_leaves_nothing_behind(
        self, store, folder, fail, monkeypatch, name, after, number
    ):
        uuid = uuid4()
        expected = StoreFull if number == errno.ENOSPC else StorageFailed
        fail(name, number, after=after)

        with pytest.raises(expected):
            store.create(uuid, SIZE)

        monkeypatch.undo()

        assert [entry.name for entry in folder.iterdir()] == [file.MARKER]
        assert not store.has(uuid)
        store.create(uuid, SIZE)

    def test_a_size_past_the_file_systems_is_no_room_and_leaves_nothing(self, store, folder):
        with largest_file(SIZE), pytest.raises(OutOfSpace, match="cannot hold"):
            store.create(uuid4(), SIZE + 1)

        assert [entry.name for entry in folder.iterdir()] == [file.MARKER]

    def test_a_store_whose_folder_is_gone_makes_nothing(self, store, folder, tmp_path):
        folder.rename(tmp_path / "unmounted")

        with pytest.raises(StorageFailed, match="create the volume"):
            store.create(uuid4(), SIZE)
        with pytest.raises(StorageFailed, match="destroy the volume"):
            store.destroy(uuid4())

        assert not folder.exists()


class TestDestroying:
    @pytest.mark.parametrize("name", ["open", "fsync"])
    def test_a_removal_that_may_not_last_is_a_failure(self, store, fail, name):
        uuid = uuid4()
        store.create(uuid, SIZE)
        fail(name, errno.EIO)

        with pytest.raises(StorageFailed, match="destroy the volume"):
            store.destroy(uuid)

        assert not store.has(uuid)


class TestPreparing:
    @pytest.mark.parametrize("name", ["open", "fsync", "link"])
    def test_a_store_that_cannot_be_marked_is_told_and_no_draft_is_left(self, tmp_path, fail, name):
        fail(name, errno.EIO)

        with pytest.raises(SetupFailed, match="cannot be set up"):
            FileStore("ssd", "shelf-1", tmp_path / "new").prepare("0123", first=True)

        assert list((tmp_path / "new").iterdir()) == []
