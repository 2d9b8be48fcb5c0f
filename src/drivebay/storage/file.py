"""Volumes as sparse files in a directory: one store, on one file system.

STORE/
  .drivebay-store       which data folder the store belongs to, and under which name
  UUID.volume           the bytes of one drive, as long as the volume, sparse
"""

import ctypes
import errno
import fcntl
import os
import secrets
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Self
from uuid import UUID
from weakref import WeakValueDictionary

from drivebay.errors import DrivebayError, OutOfSpace, SetupFailed, StorageFailed, StoreFull
from drivebay.storage import ranges, zeros
from drivebay.storage.flushes import SharedFlush
from drivebay.storage.idle import KEPT_S, IdleDescriptors
from drivebay.storage.volume import Decode, Extent, Volume, WouldWait, decoded

MARKER = ".drivebay-store"
_SUFFIX = ".volume"

# Linux, <linux/falloc.h>; Python has no call for it.
_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02
_libc = ctypes.CDLL(None, use_errno=True)
_statfs = _libc.statfs

# Linux, <linux/fs.h>: begin to write the dirty pages of a range, and wait for nothing.
_SYNC_FILE_RANGE_WRITE = 2
_libc.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)

# Less than this is left to the flush: a disk does few large writes sooner than many small ones.
_WRITEBACK_MIN = 256 * 1024
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)

# Linux, <linux/fs.h>: _IOW(0x94, 13, struct file_clone_range).
_FICLONERANGE = 0x4020940D

_FULL = {errno.ENOSPC, errno.EDQUOT}
_CANNOT_ALLOCATE = {errno.EOPNOTSUPP, errno.ENOSYS}
_ZEROS = bytes(1024 * 1024)

# Not in the page cache; and file systems that cannot tell.
_NOT_NOW = {errno.EAGAIN, errno.EOPNOTSUPP}

# Linux, <linux/magic.h>.  tmpfs cannot tell either, but then its pages are memory.
_TMPFS = 0x01021994


class FileVolume:
    """One open volume file; see `Volume` for what the calls promise."""

    def __init__(
        self,
        fd: int,
        store: str,
        *,
        size: int | None = None,
        flushes: Callable[[], SharedFlush] = SharedFlush,
        is_memory: bool = False,
        release: Callable[[int], None] = os.close,
    ) -> None:
        """Take over *fd*, which goes to *release* when the volume is closed.

        *size* is that of the file, where the caller has just looked; *flushes* returns what others
        who have it open share.  With *is_memory* no read ever waits for a disk.
        """
        self._fd = fd
        self._store = store
        self._size = os.fstat(fd).st_size if size is None else size
        self._flushes = flushes
        self._is_memory = is_memory
        self._release = release

    @property
    def size(self) -> int:
        return self._size

    @property
    def descriptor(self) -> int:
        """The open file, until the volume is closed."""
        return self._fd

    @property
    def is_memory(self) -> bool:
        """Whether no read ever waits for a disk."""
        return self._is_memory

    def pread(self, offset: int, buffer: memoryview) -> None:
        self._require_inside(offset, len(buffer))
        done, rest = 0, buffer
        try:
            while rest:
                count = os.preadv(self._fd, [rest], offset + done)
                if count == 0:
                    # Shorter than when it was opened: someone else cut the file.
                    raise StorageFailed(operation="read", offset=offset + done)
                done, rest = done + count, rest[count:]
        except OSError as error:
            raise _failure(error, "read", self._store, offset + done) from error

    def pread_now(self, offset: int, buffer: memoryview) -> bool:
        self._require_inside(offset, len(buffer))
        flags = 0 if self._is_memory else os.RWF_NOWAIT
        try:
            return os.preadv(self._fd, (buffer,), offset, flags) == len(buffer)
        except OSError as error:
            if error.errno in _NOT_NOW:
                return False
            raise StorageFailed(operation="read", offset=offset) from error

    def fetch_now(self, offset: int, buffer: memoryview) -> Decode | None:
        return decoded if self.pread_now(offset, buffer) else None

    def pwrite(self, offset: int, data: memoryview) -> None:
        self._require_inside(offset, len(data))
        if not zeros.has_any(offset, data):
            self._write(offset, data)
            return
        for run in zeros.runs(offset, data):
            if run.is_data:
                self._write(run.offset, data[run.offset - offset : run.end - offset])
            else:
                self._punch(run.offset, run.length)

    def zero(self, offset: int, length: int) -> None:
        self._require_inside(offset, length)
        if length:
            self._punch(offset, length)

    def reserve(self, offset: int, length: int) -> None:
        self._require_inside(offset, length)
        if length:
            with _failing("reserve", self._store, offset), suppress(_Unsupported):
                _fallocate(self._fd, _KEEP_SIZE, offset, length)

    def share(self, source: Volume, offset: int, length: int) -> bool:
        self._require_inside(offset, length)
        if not isinstance(source, FileVolume):
            return False
        shared = struct.pack("=qQQQ", source._fd, offset, length, offset)  # noqa: SLF001
        try:
            fcntl.ioctl(self._fd, _FICLONERANGE, shared)
        except OSError:
            # Another file system, one that cannot, no whole blocks, no room: who copies will see.
            return False
        return True

    def flush(self) -> None:
        with _failing("flush", self._store):
            self._flushes().run(self._sync)

    def resize(self, size: int) -> None:
        with _failing("resize", self._store):
            os.ftruncate(self._fd, size)
            os.fsync(self._fd)
        self._size = size

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        self._require_inside(offset, length)
        end = offset + length
        while offset < end:
            data = min(self._seek(offset, os.SEEK_DATA), end)
            if data > offset:
                yield Extent(offset, data - offset, is_data=False)
            if data == end:
                return
            offset = min(self._seek(data, os.SEEK_HOLE), end)
            yield Extent(data, offset - data, is_data=True)

    def allocated(self) -> int:
        with _failing("measure", self._store):
            return os.fstat(self._fd).st_blocks * 512

    def locked(
        self, offset: int, length: int, *, shared: bool, wait_s: float | None = None
    ) -> AbstractContextManager[None]:
        self._require_inside(offset, length)
        # A lock of length 0 would reach to the end of the file.
        if length == 0:
            return nullcontext()
        return _Lock(self, offset, length, shared=shared, wait_s=wait_s)

    def locked_whole(
        self, *, shared: bool, wait_s: float | None = None
    ) -> AbstractContextManager[None]:
        return _Lock(self, 0, 0, shared=shared, wait_s=wait_s)

    def lock(self, offset: int, length: int, *, shared: bool, wait_s: float | None) -> None:
        """Begin to hold the range; a *length* of 0 reaches to wherever the file may grow.

        Raises:
            WouldWait: the range was not free in time.
        """
        try:
            if not ranges.wait_lock(self._fd, offset, length, shared=shared, wait_s=wait_s):
                raise WouldWait
        except OSError as error:
            raise _failure(error, "lock", self._store, offset) from error
        try:
            # Whoever held it before may have changed the size.  A quarter of what fstat takes; nobody
            # uses the descriptor's own offset.
            self._size = os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            self.unlock(offset, length)
            raise _failure(error, "lock", self._store, offset) from error

    def unlock(self, offset: int, length: int) -> None:
        """End what `lock` began."""
        ranges.unlock(self._fd, offset, length)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._release(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sync(self) -> None:
        os.fdatasync(self._fd)

    def _require_inside(self, offset: int, length: int) -> None:
        assert offset >= 0, "an offset below zero"
        assert 0 <= length <= self._size - offset, "a range past the volume's end"

    def _write(self, offset: int, data: memoryview) -> None:
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(self._fd, data[done:] if done else data, offset + done)
        except OSError as error:
            raise _failure(error, "write", self._store, offset) from error
        except OverflowError as error:
            raise _too_large(self._store) from error
        if len(data) >= _WRITEBACK_MIN and not self._is_memory:
            self._begin_writeback(offset, len(data))

    def _begin_writeback(self, offset: int, length: int) -> None:
        # So that the disk is at it while the next part is encrypted, or received.  It promises
        # nothing: `flush` waits for it, and is told what failed; so what fails here is nobody's
        # matter, and file systems that cannot do it are none the worse.
        _libc.sync_file_range(self._fd, offset, length, _SYNC_FILE_RANGE_WRITE)

    def _punch(self, offset: int, length: int) -> None:
        try:
            with _failing("zero", self._store, offset):
                _fallocate(self._fd, _KEEP_SIZE | _PUNCH_HOLE, offset, length)
        except _Unsupported:
            self._write_zeros(offset, length)

    def _write_zeros(self, offset: int, length: int) -> None:
        # Holes that are there already stay.
        for extent in self.extents(offset, length):
            if extent.is_data:
                for at in range(extent.offset, extent.end, len(_ZEROS)):
                    self._write(at, memoryview(_ZEROS)[: extent.end - at])

    def _seek(self, offset: int, whence: int) -> int:
        try:
            return os.lseek(self._fd, offset, whence)
        except OSError as error:
            # No data from here to the end.
            if error.errno == errno.ENXIO and whence == os.SEEK_DATA:
                return self._size
            raise StorageFailed(operation="find the extents", offset=offset) from error


class _Unsupported(Exception):
    """The file system has no such way to allocate."""


def _fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    while _libc.fallocate(fd, mode, offset, length) != 0:
        number = ctypes.get_errno()
        if number in _CANNOT_ALLOCATE:
            raise _Unsupported
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


class _Lock(AbstractContextManager[None]):
    """Holds a range of a volume.  A class: most of a small read's time is in such steps."""

    __slots__ = ("_length", "_offset", "_shared", "_volume", "_wait_s")

    def __init__(
        self, volume: FileVolume, offset: int, length: int, *, shared: bool, wait_s: float | None
    ) -> None:
        self._volume = volume
        self._offset = offset
        self._length = length
        self._shared = shared
        self._wait_s = wait_s

    def __enter__(self) -> None:
        self._volume.lock(self._offset, self._length, shared=self._shared, wait_s=self._wait_s)

    def __exit__(self, *_: object) -> None:
        self._volume.unlock(self._offset, self._length)


class FileStore:
    """A directory of volume files; see `Store` for what the calls promise."""

    def __init__(self, name: str, domain: str, path: Path) -> None:
        """Name the directory *path*; `prepare` comes next."""
        self._name = name
        self._domain = domain
        self._path = path
        self._marker = b""
        self._folder = str(path)
        self._marker_path = f"{path}/{MARKER}"
        self._seen: tuple[int, int] | None = None
        self._is_memory = False
        self._idle = IdleDescriptors()
        self._flushes: WeakValueDictionary[UUID, SharedFlush] = WeakValueDictionary()

    @property
    def name(self) -> str:
        return self._name

    @property
    def domain(self) -> str:
        return self._domain

    def prepare(self, identity: str, *, first: bool) -> None:
        """Say which data folder the store belongs to, and at its *first* use mark it so.

        Raises:
            SetupFailed: the directory cannot be made, or belongs to another data folder or name.
        """
        self._marker = f"drivebay-store-1 {identity} {self._name}\n".encode()
        if not first:
            return
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._mark()
        except OSError as error:
            raise SetupFailed(
                reason=f"the store {self._path} cannot be set up: {error.strerror}"
            ) from error
        if not self.is_reachable():
            raise SetupFailed(
                reason=f"the directory {self._path} is a store of another data folder or name",
                hint="give the store another path; nothing was changed",
            )

    def _mark(self) -> None:
        draft = self._path / f"{MARKER}.{secrets.token_hex(8)}"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(self._marker)
                file.flush()
                os.fsync(fd)
            with suppress(FileExistsError):
                os.link(draft, self._path / MARKER)
        finally:
            draft.unlink()
        self._sync()

    def is_reachable(self) -> bool:
        try:
            found = os.stat(self._marker_path)  # noqa: PTH116 - at each call: a Path is slower
            if (found.st_dev, found.st_ino) == self._seen:
                return True
            is_ours = (self._path / MARKER).read_bytes() == self._marker
        except OSError:
            return False
        seen = (found.st_dev, found.st_ino) if is_ours else None
        if seen != self._seen:
            # Another folder is in this place now, and what is kept open lies in the one before.
            self._idle.close()
            self._is_memory = _is_tmpfs(self._path)
        self._seen = seen
        return is_ours

    def has(self, uuid: UUID, size: int = 0) -> bool:
        try:
            found = os.lstat(self._file(uuid))
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size >= size and self.is_reachable()

    def create(self, uuid: UUID, size: int) -> None:
        path = self._file(uuid)
        with _failing("create the volume", self._name):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with _failing("create the volume", self._name):
                try:
                    os.ftruncate(fd, size)
                    os.fsync(fd)
                finally:
                    os.close(fd)
                self._sync()
        except (StorageFailed, OutOfSpace):
            with suppress(OSError):
                Path(path).unlink()
            raise

    def open(self, uuid: UUID, *, now: bool = False) -> FileVolume:
        try:
            fd, size = self._kept(uuid) or self._opened(uuid, now=now)
        except OSError as error:
            raise _failure(error, "open the volume", self._name) from error
        return FileVolume(
            fd,
            self._name,
            size=size,
            flushes=partial(self._flush_of, uuid),
            is_memory=self._is_memory,
            release=partial(self._put_back, uuid, self._seen),
        )

    def _flush_of(self, uuid: UUID) -> SharedFlush:
        # Two threads may make one each, and then share nothing but correctness.
        return self._flushes.setdefault(uuid, SharedFlush())

    def _kept(self, uuid: UUID) -> tuple[int, int] | None:
        """Return a descriptor of the volume that was kept, and the volume's size."""
        seen = self._seen
        while (fd := self._idle.take(uuid)) is not None:
            try:
                found = os.fstat(fd)
            except OSError:
                os.close(fd)
                raise
            # Of a volume that was removed, or of a file system that is not mounted any more.
            if found.st_nlink and seen is not None and found.st_dev == seen[0]:
                return fd, found.st_size
            os.close(fd)
        return None

    def _opened(self, uuid: UUID, *, now: bool) -> tuple[int, int]:
        if now:
            raise WouldWait
        fd = os.open(self._file(uuid), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise StorageFailed(operation="open the volume")
        return fd, found.st_size

    def _put_back(self, uuid: UUID, seen: tuple[int, int] | None, fd: int) -> None:
        if seen == self._seen:
            self._idle.give(uuid, fd)
        else:
            os.close(fd)

    def destroy(self, uuid: UUID) -> None:
        with _failing("destroy the volume", self._name):
            # Processes that have it open would otherwise keep its room.
            with suppress(OSError):
                flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                fd = os.open(self._file(uuid), flags)
                try:
                    os.ftruncate(fd, 0)
                finally:
                    os.close(fd)
            with suppress(FileNotFoundError):
                Path(self._file(uuid)).unlink()
            self._sync()

    def close_idle(self, *, unused_s: float = KEPT_S) -> None:
        self._idle.close(unused_s=unused_s)

    def volumes(self) -> Iterator[UUID]:
        with _failing("list its volumes", self._name):
            files = list(self._path.glob(f"*{_SUFFIX}"))
        for file in files:
            with suppress(ValueError):
                uuid = UUID(file.stem)
                # UUID also reads other spellings, which `open` would not find again.
                if str(file) == self._file(uuid):
                    yield uuid

    def free(self) -> int:
        with _failing("measure its room", self._name):
            room = os.statvfs(self._path)
        return room.f_bavail * room.f_frsize

    def _file(self, uuid: UUID) -> str:
        # A string: to put a Path together takes longer than to look at the file.
        return f"{self._folder}/{uuid}{_SUFFIX}"

    def _sync(self) -> None:
        fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _is_tmpfs(path: Path) -> bool:
    # struct statfs begins with a long that says the kind; 256 bytes hold it on every Linux.
    found = ctypes.create_string_buffer(256)
    if _statfs(os.fsencode(path), found) != 0:
        return False
    return int.from_bytes(found.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder) == _TMPFS


@contextmanager
def _failing(operation: str, store: str, offset: int | None = None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _failure(error, operation, store, offset) from error
    except OverflowError as error:
        # 2**63 and more: a drive's last sector may end there.
        raise _too_large(store) from error


def _failure(
    error: OSError, operation: str, store: str, offset: int | None = None
) -> DrivebayError:
    if error.errno in _FULL:
        return StoreFull(store=store)
    if error.errno == errno.EFBIG:
        return _too_large(store)
    return StorageFailed(operation=operation, offset=offset)


def _too_large(store: str) -> OutOfSpace:
    return OutOfSpace(reason=f"store {store} cannot hold a volume of that size")
