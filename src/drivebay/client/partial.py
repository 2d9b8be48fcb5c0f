"""A download that is not whole yet: `NAME.part` with its bytes, `NAME.part.pieces` with its record.

The record is a text file: a JSON line that says what is being downloaded, then a line of offset,
length and checksum for every piece that was written.  A later run believes none of it: it reads
the pieces back and goes on with those that are as recorded, so neither a kill nor a power cut
needs an fsync on the way.
"""

import contextlib
import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from drivebay.client.errors import LocalFailed, VerificationFailed
from drivebay.client.pieces import PIECE, Range, checksum, data_runs, is_zero, ranges

# The header and 30 bytes for each piece of the largest drive that one would download: 64 TiB.
_RECORD_BYTES_MAX = 512 * 1024 * 1024


class PartialFile:
    """The file that a download grows into.  Threads may write different pieces at once.

    *identity* is what must be equal for a later run to go on: the drive, its size, and how often
    it was written.
    """

    def __init__(self, target: Path, identity: dict[str, str | int], size: int) -> None:
        self.target = target
        self.part = target.with_name(target.name + ".part")
        self._record_path = target.with_name(target.name + ".part.pieces")
        self._size = size
        self._header = json.dumps(identity, sort_keys=True)
        self._checksums: dict[int, int] = {}
        with _told(f"open {self.part}"):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self.part, flags, 0o666)
        try:
            self._lock()
            self._is_resumed = self._recover()
            with _told(f"write {self._record_path}"):
                self._record = self._open_record()
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._record)
        os.close(self._fd)

    @property
    def done_bytes(self) -> int:
        """How much an earlier run has left that is as it should be."""
        return sum(item.length for item in ranges(0, self._size) if self._has(item))

    def missing(self) -> list[Range]:
        """Return the pieces that are still to be written, in order."""
        return [item for item in ranges(0, self._size) if not self._has(item)]

    def write(self, item: Range, data: bytes) -> bool:
        """Write one piece, leaving its zeros as holes, and return whether it was all zeros.

        Raises:
            LocalFailed: the file cannot take it.
        """
        with _told(f"write {self.part}"):
            end = 0
            for start, stop in data_runs(data):
                self._clear(item.offset + end, start - end)
                self._write_all(item.offset + start, data[start:stop])
                end = stop
            self._clear(item.offset + end, item.length - end)
            found = checksum(data)
            os.write(self._record, f"{item.offset} {item.length} {found}\n".encode())
        self._checksums[item.offset] = found
        return is_zero(data)

    def finish(self, *, verify: bool) -> None:
        """Make the file durable, check it against what was received, and give it its name.

        Raises:
            VerificationFailed: the disk returns other bytes than those that were written.
            LocalFailed: the file cannot be made durable or renamed; the partial file stays.
        """
        with _told(f"write {self.part}"):
            os.fsync(self._fd)
        if verify:
            self._verify()
        with _told(f"rename {self.part} to {self.target}"):
            self.part.rename(self.target)
            self._record_path.unlink(missing_ok=True)
            folder = os.open(self.target.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _has(self, item: Range) -> bool:
        return item.offset in self._checksums

    def _lock(self) -> None:
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise LocalFailed(reason=f"{self.part} is not a regular file")
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LocalFailed(reason=f"another download is writing {self.part}") from error

    def _recover(self) -> bool:
        """Find the pieces of an earlier run that can be kept; without any, start from nothing."""
        with _told(f"read {self._record_path}"):
            lines = self._recorded_lines()
            if lines and lines[0] == self._header:
                for line in lines[1:]:
                    self._keep(line)
        with _told(f"write {self.part}"):
            if not self._checksums:
                os.ftruncate(self._fd, 0)
            os.ftruncate(self._fd, self._size)
        return bool(self._checksums)

    def _recorded_lines(self) -> list[str]:
        try:
            with self._record_path.open("rb") as record:
                return record.read(_RECORD_BYTES_MAX).decode("ascii", "replace").splitlines()
        except FileNotFoundError:
            return []

    def _keep(self, line: str) -> None:
        numbers = line.split(" ")
        if len(numbers) != 3 or not all(n.isascii() and n.isdigit() for n in numbers):
            return
        offset, length, expected = (int(number[:20]) for number in numbers)
        # Only pieces of today's size and place fit into the plan of today.
        if offset % PIECE or length != min(PIECE, self._size - offset):
            return
        if checksum(os.pread(self._fd, length, offset)) == expected:
            self._checksums[offset] = expected

    def _open_record(self) -> int:
        """Start the record anew with what was kept; a torn last line is gone with that."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        record = os.open(self._record_path, flags, 0o666)
        kept = [
            f"{item.offset} {item.length} {self._checksums[item.offset]}"
            for item in ranges(0, self._size)
            if self._has(item)
        ]
        os.write(record, "".join(f"{line}\n" for line in [self._header, *kept]).encode())
        return record

    def _clear(self, offset: int, length: int) -> None:
        """Make sure that the range reads as zeros; a fresh file's does."""
        if self._is_resumed and length and not is_zero(os.pread(self._fd, length, offset)):
            self._write_all(offset, bytes(length))

    def _write_all(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, offset)
            offset, view = offset + written, view[written:]

    def _verify(self) -> None:
        # What is read back should come from the disk, not from the memory that it was written to.
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        for item in ranges(0, self._size):
            with _told(f"read {self.part}"):
                data = self._read_back(item)
            if len(data) != item.length or checksum(data) != self._checksums.get(item.offset):
                raise VerificationFailed(what=str(self.part), offset=item.offset)

    def _read_back(self, item: Range) -> bytes:
        try:
            has_data = os.lseek(self._fd, item.offset, os.SEEK_DATA) < item.end
        except OSError as error:
            # ENXIO: there is no data up to the end, which may have come nearer meanwhile.
            has_data = error.errno != errno.ENXIO or os.fstat(self._fd).st_size < item.end
        # The kernel takes 13 ms to fill 4 MiB from a hole of a cold file, Python 0.1 ms.
        return os.pread(self._fd, item.length, item.offset) if has_data else bytes(item.length)


@contextlib.contextmanager
def _told(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalFailed(reason=f"cannot {doing}: {error.strerror}") from error
