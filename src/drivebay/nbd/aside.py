"""What waits for a disk, done beside a connection's own thread.

Two kinds of waiting are kept apart: the threads that wait for disks are few and serve every
connection of the process, so none of them ever waits for a client; replies are sent by a thread of
the connection's own.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from threading import BoundedSemaphore, Thread

from drivebay.service.exports import Export

_log = logging.getLogger("drivebay.nbd")

Parts = Sequence[bytes | memoryview]
"""A reply, to be sent part by part and without anything in between."""

Work = Callable[[Export], Parts]
"""Carries a request out with an export that nobody else uses meanwhile; returns its reply."""

IN_FLIGHT_MAX = 16
"""How many requests of one connection are done aside at once."""

_THREADS = 32

# Each has a buffer of at most 4 MiB, until the client has taken what is in it.
_LARGE_MAX = 64


class Disks:
    """The threads of one process that wait for disks, and the room for what they read."""

    def __init__(self) -> None:
        """Start them as they are needed."""
        self.pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="nbd-disk")
        self.large = BoundedSemaphore(_LARGE_MAX)

    def close(self) -> None:
        """Let them end; what has not begun is dropped."""
        self.pool.shutdown(wait=False, cancel_futures=True)


class Aside:
    """What is done beside the thread of one connection."""

    def __init__(
        self,
        disks: Disks,
        export: Export,
        *,
        send: Callable[[Parts], None],
        end: Callable[[], None],
    ) -> None:
        """Work in the threads of *disks*; *send* sends a reply, *end* ends the connection."""
        self._disks = disks
        self._export = export
        self._send = send
        self._end = end
        self._in_flight = BoundedSemaphore(IN_FLIGHT_MAX)
        self._spare: list[Export] = []
        self._replies: SimpleQueue[tuple[Parts, bool] | None] = SimpleQueue()
        self._sender: Thread | None = None

    def take(self, work: Work, *, is_large: bool) -> bool:
        """Do *work* and send its reply, later; False if it has to be done here and now.

        It waits while the connection has as many under way as it may.  What *is_large* has a reply
        that is worth counting.
        """
        if is_large and not self._disks.large.acquire(blocking=False):
            return False
        self._in_flight.acquire()
        try:
            if self._sender is None:
                sender = Thread(target=self._send_all, name="nbd-replies", daemon=True)
                sender.start()
                self._sender = sender
            self._disks.pool.submit(self._do, work, is_large)
        except RuntimeError:
            # No thread is to be had, or the process is ending.
            self._give_back(is_large=is_large)
            return False
        return True

    def settle(self) -> None:
        """Wait until nothing is under way, and close what was opened for it."""
        for _ in range(IN_FLIGHT_MAX):
            self._in_flight.acquire()
        if self._sender is not None:
            self._replies.put(None)
            self._sender.join()
        for export in self._spare:
            export.close()

    def _do(self, work: Work, is_large: bool) -> None:  # noqa: FBT001 - the pool passes it on
        reply: Parts = ()
        try:
            reply = self._with_export(work)
        except Exception:  # noqa: BLE001 - the thread's edge: the client is told by the end
            _log.exception("drive %s: unexpected failure", self._export.drive)
            self._end()
        finally:
            self._replies.put((reply, is_large))

    def _with_export(self, work: Work) -> Parts:
        export: Export | None = None
        with suppress(IndexError):
            export = self._spare.pop()
        if export is None:
            export = self._export.another()
        try:
            return work(export)
        finally:
            self._spare.append(export)

    def _send_all(self) -> None:
        while (item := self._replies.get()) is not None:
            reply, is_large = item
            try:
                if reply:
                    self._send(reply)
            except OSError:
                self._end()
            finally:
                self._give_back(is_large=is_large)

    def _give_back(self, *, is_large: bool) -> None:
        if is_large:
            self._disks.large.release()
        self._in_flight.release()
