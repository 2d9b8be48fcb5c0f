"""What an upload reads: a file or a block device by offset, or a stream from front to back."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from drivebay.client.errors import LocalFailed
from drivebay.client.pieces import Range, ranges


@dataclass(frozen=True)
class Piece:
    """A range of the source; *data* is there already when it came from a stream."""

    range: Range
    data: bytes | None = field(default=None, repr=False)


class Source(Protocol):
    """Bytes to upload, of a size that is known beforehand."""

    @property
    def size(self) -> int:
        """How many bytes there are."""

    def pieces(self, offset: int) -> Iterator[Piece]:
        """Yield the pieces from *offset*, a multiple of 4 MiB, to the end.

        Pieces before *offset* come first when they could not be had again.
        """

    def load(self, piece: Piece) -> bytes | None:
        """Return the bytes of *piece*, or None for a hole; threads may call this at once."""

    def was_changed(self) -> bool:
        """Whether it was written to since it was opened, as far as that can be seen."""


class FileSource:
    """A regular file or a block device, read by offset."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._name = name
        self._is_sparse = stat.S_ISREG(os.fstat(fd).st_mode)
        self._seen = self._state()
        self.size = os.lseek(fd, 0, os.SEEK_END)

    def pieces(self, offset: int) -> Iterator[Piece]:
        """Yield the pieces from *offset* to the end."""
        return (Piece(item) for item in ranges(offset, self.size))

    def load(self, piece: Piece) -> bytes | None:
        """Return the bytes of *piece*, or None for a hole.

        Raises:
            LocalFailed: the source cannot be read there, or has become shorter.
        """
        offset, length = piece.range.offset, piece.range.length
        if self._is_sparse and self._is_hole(offset, length):
            return None
        parts: list[bytes] = []
        while length:
            try:
                part = os.pread(self._fd, length, offset)
            except OSError as error:
                raise _unreadable(self._name, error) from error
            if not part:
                raise LocalFailed(reason=f"{self._name} became shorter while it was read")
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def was_changed(self) -> bool:
        """Whether its size or time has changed; a block device shows neither."""
        return self._is_sparse and self._state() != self._seen

    def _state(self) -> tuple[int, int]:
        now = os.fstat(self._fd)
        return now.st_size, now.st_mtime_ns

    def _is_hole(self, offset: int, length: int) -> bool:
        try:
            return os.lseek(self._fd, offset, os.SEEK_DATA) >= offset + length
        except OSError as error:
            # ENXIO: no data up to the end.  A file that became shorter fails when it is read.
            at_end = error.errno == errno.ENXIO
            return at_end and os.fstat(self._fd).st_size >= offset + length


class StreamSource:
    """A pipe of exactly *size* bytes, read once."""

    def __init__(self, fd: int, name: str, size: int) -> None:
        self._fd = fd
        self._name = name
        self.size = size

    def pieces(self, offset: int) -> Iterator[Piece]:
        """Yield all pieces, also those before *offset*, to the end, which must come at *size*.

        Raises:
            LocalFailed: the stream is shorter or longer than it was said to be.
        """
        del offset
        for item in ranges(0, self.size):
            yield Piece(item, self._take(item))
        if self._read(1):
            raise LocalFailed(reason=f"{self._name} has more than the {self.size} bytes announced")

    def load(self, piece: Piece) -> bytes | None:
        """Return the bytes that came with *piece*."""
        return piece.data

    def was_changed(self) -> bool:
        """Whether it was changed: a stream is what came through it."""
        return False

    def _take(self, item: Range) -> bytes:
        parts = []
        missing = item.length
        while missing and (part := self._read(missing)):
            parts.append(part)
            missing -= len(part)
        if missing:
            ended = item.end - missing
            reason = f"{self._name} ended after {ended} of the {self.size} bytes announced"
            raise LocalFailed(reason=reason)
        return b"".join(parts)

    def _read(self, length: int) -> bytes:
        try:
            return os.read(self._fd, length)
        except OSError as error:
            raise _unreadable(self._name, error) from error


def open_source(name: str, fd: int, size: int | None) -> Source:
    """Return what *fd* offers: a file or block device as it is, anything else as a stream.

    Raises:
        LocalFailed: it is a folder, or a stream whose *size* was not given.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise LocalFailed(reason=f"{name} is a folder")
    is_at_start = False
    with contextlib.suppress(OSError):
        is_at_start = os.lseek(fd, 0, os.SEEK_CUR) == 0
    if (stat.S_ISREG(mode) and is_at_start) or stat.S_ISBLK(mode):
        return FileSource(fd, name)
    if size is None:
        hint = "give --size with the exact number of bytes"
        raise LocalFailed(reason=f"the length of {name} cannot be known beforehand", hint=hint)
    return StreamSource(fd, name, size)


def _unreadable(name: str, error: OSError) -> LocalFailed:
    return LocalFailed(reason=f"cannot read {name}: {error.strerror}")
