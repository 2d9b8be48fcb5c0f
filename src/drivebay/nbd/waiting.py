"""Waiting for a client's next request without going to sleep, where it will come at once.

A client that has one request under way at a time asks for the next some 20 us after it was
answered.  To put the thread to sleep and wake it up takes longer than that, most of all on a core
that has become idle meanwhile.  So a connection whose last wait was short looks for the next request
again and again, for a moment, before it sleeps.
"""

import os
import select
import socket
from threading import Lock
from time import perf_counter

MOMENT_S = 100e-6
"""How long is looked for a request before the thread sleeps: what a wake-up takes at its worst."""

# One thread of a process looks at a time: more would only take the interpreter from each other.
_looking = Lock()


class Waiting:
    """How one connection waits for what comes next."""

    def __init__(self, connection: socket.socket) -> None:
        """Wait for *connection*."""
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._is_eager = False
        self._since = 0.0

    def begin(self, *, is_alone: bool) -> None:
        """Look for a moment, if that is worth it; then it is for the caller to receive.

        It is not where the client has more than one request under way: what was answered before
        was not *is_alone*.
        """
        self._since = perf_counter()
        if is_alone and self._is_eager and _looking.acquire(blocking=False):
            try:
                self._look(self._since + MOMENT_S)
            finally:
                _looking.release()

    def end(self) -> None:
        """Note that something was received: a short wait makes the next one eager."""
        self._is_eager = perf_counter() - self._since < MOMENT_S

    def _look(self, until: float) -> None:
        poll = self._poll.poll
        while not poll(0) and perf_counter() < until:
            os.sched_yield()  # Whoever has something to do comes first, the client above all.
