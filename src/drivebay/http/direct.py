"""Sending from the thread that has the bytes: for as long as the caller takes them at once.

A large answer costs its copy into the kernel.  In the loop's thread that time would be everybody's;
in the thread that has read and decrypted the bytes it is the answer's own, and the cores share the
work.  A caller that dawdles must not keep the thread, so what it does not take soon goes back to
the loop, which can wait for any number of callers at once.
"""

import os
import select
import time

from drivebay.storage.volume import Decode
from drivebay.units import MIB

PATIENCE_S = 0.005
"""How long a thread waits for a caller, in all of one answer."""

PIECE = 1 * MIB
"""How much is decoded at once."""

_MS_PER_S = 1000


class Broken(Exception):
    """The answer has begun and cannot be finished, so the connection is of no more use."""


class DirectSender:
    """Sends on one connection, in any one thread at a time."""

    def __init__(self, fd: int) -> None:
        """Take over *fd*, a socket that does not block."""
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def send(self, head: bytes, body: memoryview, decode: Decode) -> memoryview:
        """Send *head* and *body*; return what of the two the caller did not take in time.

        *body* is decoded on the way, a piece at a time: the caller takes one while the next is made
        ready, and the core's own cache still has it when the kernel copies it.

        Raises:
            Broken: the caller is gone, or a later piece cannot be decoded.
        """
        ready = min(PIECE, len(body))
        decode(0, ready)
        try:
            sent = self._write([head, body[:ready]])
            if sent < len(head):
                decode(ready, len(body))
                return memoryview(head[sent:] + bytes(body))
            return self._send_rest(body, sent - len(head), ready, decode)
        except Exception as error:  # whatever it was, nothing else may follow on this connection
            raise Broken from error

    def _send_rest(self, body: memoryview, sent: int, ready: int, decode: Decode) -> memoryview:
        deadline = time.monotonic() + PATIENCE_S
        while sent < len(body):
            if sent == ready:
                ready = min(ready + PIECE, len(body))
                decode(sent, ready)
            elif not self._has_room(deadline):
                break
            sent += self._write([body[sent:ready]])
        decode(ready, len(body))
        return body[sent:]

    def _has_room(self, deadline: float) -> bool:
        left_s = deadline - time.monotonic()
        return left_s > 0 and bool(self._poll.poll(left_s * _MS_PER_S))

    def _write(self, parts: list[bytes | memoryview]) -> int:
        try:
            return os.writev(self._fd, parts)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)
