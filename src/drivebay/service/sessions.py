"""Which process serves which claim now, so that who ends a claim can wait for its connections.

Each process that serves claims has a file, and locks in it stand for what it does:

    byte 0    the process lives; the file holds its number
    byte N    the process has connections of claim N

The kernel gives locks back however a process ends, so nothing of this can be stale.
"""

import logging
import os
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from drivebay.storage import ranges

_log = logging.getLogger("drivebay.sessions")

KILL_AFTER_S = 5.0
"""How long a process has for ending its connections of a claim before it is ended itself."""

_DIE_WITHIN_S = 10.0

CONNECTIONS_MAX = 128
"""How many connections of one claim one process has at once, so that others find room."""


class TooManyConnections(Exception):
    """A claim has all the connections that it may have in this process."""


class Serving:
    """The claims that this process serves."""

    def __init__(self, folder: Path, name: str) -> None:
        """Tell others through the file *name* in *folder*; one process at a time has a name."""
        self._fd = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        ranges.wait_lock(self._fd, 0, 1, shared=False)
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)
        self._lock = Lock()
        self._connections: Counter[int] = Counter()

    @contextmanager
    def connection(self, claim: int) -> Iterator[None]:
        """Have a connection of the claim; look whether the claim still holds once inside.

        Raises:
            TooManyConnections: the claim has all that it may have.
        """
        # Locks of one open file do not add up, so they are counted here.
        with self._lock:
            if self._connections[claim] >= CONNECTIONS_MAX:
                raise TooManyConnections
            if not self._connections[claim]:
                ranges.wait_lock(self._fd, claim, 1, shared=False)
            self._connections[claim] += 1
        try:
            yield
        finally:
            with self._lock:
                self._connections[claim] -= 1
                if not self._connections[claim]:
                    del self._connections[claim]
                    ranges.unlock(self._fd, claim, 1)

    def close(self) -> None:
        """Give everything back."""
        os.close(self._fd)


def end(folder: Path, claims: Iterable[int]) -> bool:
    """Wait until no process has connections of *claims*, which do not hold any more.

    A process that does not end them in time, because it was stopped or hangs, is killed: what it
    was about to write must not come later.  Returns whether all of them have ended.
    """
    wanted = sorted(claims)
    if not wanted or not folder.is_dir():
        return True
    ended = [_end_in(file, wanted) for file in sorted(folder.iterdir())]
    return all(ended)


def _end_in(file: Path, claims: list[int]) -> bool:
    fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        if all(_is_free(fd, claim, KILL_AFTER_S) for claim in claims):
            return True
        _kill(file.name, fd)
        return all(_is_free(fd, claim, _DIE_WITHIN_S) for claim in claims)
    finally:
        os.close(fd)


def _is_free(fd: int, claim: int, wait_s: float) -> bool:
    if not ranges.wait_lock(fd, claim, 1, shared=True, wait_s=wait_s):
        return False
    # At once: the process would wait for it before it serves another connection.
    ranges.unlock(fd, claim, 1)
    return True


def _kill(name: str, fd: int) -> None:
    if ranges.try_lock(fd, 0, 1, shared=True):
        return  # It has just died, and the number may be another process's by now.
    pid = int(os.pread(fd, 32, 0))
    _log.error("process %s (pid %d) did not end connections in time; killing it", name, pid)
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError) as error:
        _log.error("process %s (pid %d) could not be killed: %s", name, pid, error)
