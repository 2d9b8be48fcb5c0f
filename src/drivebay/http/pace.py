"""How slow the other side of a connection may be, in both directions."""

import asyncio
from collections.abc import Callable
from fcntl import ioctl
from struct import unpack
from termios import TIOCOUTQ

from drivebay.units import KIB

RATE_MIN_BYTES_PER_S = 8 * KIB
"""Behind a stall timeout, the slowest that a transfer may be on the whole."""


class Pace:
    """Watches that a number goes on changing, and that it does not take for ever.

    Gives up when *measure* returns the same for *stall_s*, or after *within_s* in all.
    """

    def __init__(
        self,
        measure: Callable[[], int],
        give_up: Callable[[], None],
        *,
        stall_s: float,
        within_s: float,
    ) -> None:
        """Begin to watch, in the running loop."""
        self._measure = measure
        self._give_up = give_up
        self._stall_s = stall_s
        self._loop = asyncio.get_running_loop()
        self._latest = self._loop.time() + within_s
        self._seen = measure()
        self._timer = self._loop.call_later(stall_s, self._look)

    def stop(self) -> None:
        """Watch no more."""
        self._timer.cancel()

    def _look(self) -> None:
        now = self._measure()
        if now == self._seen or self._loop.time() > self._latest:
            self._give_up()
            return
        self._seen = now
        self._timer = self._loop.call_later(self._stall_s, self._look)


def untaken(transport: asyncio.Transport) -> int:
    """Return how many bytes that were written the other side has not acknowledged.

    The kernel takes from the transport in lumps of megabytes; what it still holds of those shows
    whether anything moves.
    """
    held = ioctl(transport.get_extra_info("socket").fileno(), TIOCOUTQ, bytes(4))
    return transport.get_write_buffer_size() + int(unpack("i", held)[0])
