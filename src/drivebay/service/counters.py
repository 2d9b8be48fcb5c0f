"""How much was read from and written to each drive, exactly, over all processes.

Each process writes a file of its own, 32 bytes a drive at the place of the drive's catalog number,
and whoever asks adds the files up.  The page cache is shared, so the sum is exact at every moment
and survives the death of any process; `flush`, called every second, bounds what a power cut takes.
"""

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from drivebay.errors import StorageFailed

_RECORD = struct.Struct("<QQQQ")

_RECORDS_KEPT = 4096


@dataclass(frozen=True)
class Totals:
    """What a drive has answered since it was created."""

    read_bytes: int = 0
    read_requests: int = 0
    write_bytes: int = 0
    write_requests: int = 0


class Counters:
    """The counter files in *folder*; this process adds to the one named *writer*."""

    def __init__(self, folder: Path, writer: str, others: Iterable[str] = ()) -> None:
        """Open the files of *writer* and of the *others*, which must exist."""
        self._lock = Lock()
        self._dirty = False
        # What this process wrote last, and nobody else writes; a short write is not noted.
        self._records: dict[int, tuple[int, ...]] = {}
        self._fd = os.open(folder / writer, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._all = [self._fd]
        for name in others:
            if name != writer:
                self._all.append(os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC))

    def add_read(self, drive_id: int, length: int, requests: int = 1) -> None:
        """Count *requests* reads of *length* bytes together."""
        self._add(drive_id, (length, requests, 0, 0))

    def add_write(self, drive_id: int, length: int, requests: int = 1) -> None:
        """Count *requests* writes of *length* bytes together."""
        self._add(drive_id, (0, 0, length, requests))

    def totals(self, drive_id: int) -> Totals:
        """Return the sums over all processes."""
        rows = [_record_at(fd, drive_id) for fd in self._all]
        return Totals(*(sum(column) for column in zip(*rows, strict=True)))

    def flush(self) -> None:
        """Make what was counted before the call survive a power cut."""
        with self._lock:
            dirty, self._dirty = self._dirty, False
        if dirty:
            try:
                os.fdatasync(self._fd)
            except OSError:
                self._dirty = True
                raise

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        for fd in self._all:
            os.close(fd)
        self._all.clear()

    def _add(self, drive_id: int, more: tuple[int, int, int, int]) -> None:
        with self._lock:
            now = self._records.get(drive_id) or _record_at(self._fd, drive_id)
            after = (now[0] + more[0], now[1] + more[1], now[2] + more[2], now[3] + more[3])
            place = drive_id * _RECORD.size
            try:
                written = os.pwrite(self._fd, _RECORD.pack(*after), place)
                if written != _RECORD.size:
                    # Others would count what is there of a transfer that fails.
                    os.pwrite(self._fd, _RECORD.pack(*now)[:written], place)
            except OSError as error:
                raise StorageFailed(operation="count the transfer") from error
            if written != _RECORD.size:
                raise StorageFailed(operation="count the transfer")
            self._dirty = True
            if len(self._records) >= _RECORDS_KEPT:
                self._records.clear()
            self._records[drive_id] = after


def _record_at(fd: int, drive_id: int) -> tuple[int, ...]:
    record = os.pread(fd, _RECORD.size, drive_id * _RECORD.size)
    return _RECORD.unpack(record.ljust(_RECORD.size, b"\0"))
