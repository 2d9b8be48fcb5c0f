"""Locks on whole drives, for every process of one machine.

One file's byte ranges stand for the drives: two bytes each, at a place that the uuid decides.  A
read holds the first byte shared, a write the second; who changes what a drive *is* (size, imaging,
existence) holds both alone, so that no operation that checked the catalog before the change is
still running after it.  Two uuids that share a place only wait for each other.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from uuid import UUID

from drivebay.errors import DriveBusy
from drivebay.storage.ranges import try_lock, unlock, wait_lock

EXCLUSIVE_WAIT_S = 10.0
"""How long a change waits for reads and writes in flight before the drive counts as busy."""

# The polling interval of that wait: short against a transfer, long against a system call.
_POLL_S = (0.001, 0.05)


class DriveLocks:
    """The lock file of one data folder.  Threads may share the object, processes the file.

    A process makes its own object, after it was forked: locks of one open file never wait for each
    other.
    """

    def __init__(self, path: Path) -> None:
        """Use the lock file at *path*, made when it is first needed."""
        self._path = path
        self._idle: SimpleQueue[int] = SimpleQueue()

    @contextmanager
    def reading(self, drive: UUID) -> Iterator[None]:
        """Hold the drive for a read: shared with reads and writes."""
        with self._descriptor() as fd:
            wait_lock(fd, _place(drive), 1, shared=True)
            try:
                yield
            finally:
                unlock(fd, _place(drive), 1)

    @contextmanager
    def writing(self, drive: UUID) -> Iterator[None]:
        """Hold the drive for a write: shared with reads and writes."""
        with self._descriptor() as fd:
            wait_lock(fd, _place(drive) + 1, 1, shared=True)
            try:
                yield
            finally:
                unlock(fd, _place(drive) + 1, 1)

    @contextmanager
    def changing(self, drive: UUID) -> Iterator[None]:
        """Hold the drive alone.

        Raises:
            DriveBusy: transfers in flight did not end in time.
        """
        with self._alone(drive, _place(drive), 2):
            yield

    @contextmanager
    def freezing(self, drive: UUID) -> Iterator[None]:
        """Hold the drive against writes and changes; reads go on.

        Raises:
            DriveBusy: writes in flight did not end in time.
        """
        with self._alone(drive, _place(drive) + 1, 1):
            yield

    @contextmanager
    def _alone(self, drive: UUID, offset: int, length: int) -> Iterator[None]:
        with self._descriptor() as fd:
            deadline = time.monotonic() + EXCLUSIVE_WAIT_S
            pause, longest = _POLL_S
            while not try_lock(fd, offset, length, shared=False):
                if time.monotonic() > deadline:
                    raise DriveBusy(drive=drive, reason="transfers are in flight; try again")
                time.sleep(pause)
                pause = min(2 * pause, longest)
            try:
                yield
            finally:
                unlock(fd, offset, length)

    @contextmanager
    def _descriptor(self) -> Iterator[int]:
        # Locks belong to an open file description, so each holder needs its own; they are kept.
        try:
            fd = self._idle.get_nowait()
        except Empty:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield fd
        finally:
            self._idle.put(fd)


def _place(drive: UUID) -> int:
    # 61 bits of the (random) uuid, doubled: the largest lock offset is 2**63 - 1.
    return (drive.int >> 67) * 2
