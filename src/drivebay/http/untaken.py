"""The deadline for answers: a caller that does not take one must not hold its memory for ever."""

import asyncio
from collections.abc import Callable
from fcntl import ioctl
from struct import unpack
from termios import TIOCOUTQ

from drivebay.http.streams import RATE_MIN_BYTES_PER_S


class Untaken:
    """Watches what waits to be sent: some of it must always go, and 8 KiB a second on the whole."""

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        stall_timeout_s: float,
        give_up: Callable[[], None],
    ) -> None:
        """Watch *transport*, and call *give_up* when its caller is too slow."""
        self._transport = transport
        self._loop = loop
        self._stall_timeout_s = stall_timeout_s
        self._give_up = give_up
        self._timer: asyncio.TimerHandle | None = None
        self._length = 0
        self._latest = 0.0

    def start(self) -> None:
        """Watch from now on, if anything waits."""
        if self._timer is None and self._transport.get_write_buffer_size():
            self._length = self._measured()
            budget_s = self._stall_timeout_s + self._length / RATE_MIN_BYTES_PER_S
            self._latest = self._loop.time() + budget_s
            self._wait()

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._timer = self._loop.call_later(self._stall_timeout_s, self._look)

    def _look(self) -> None:
        self._timer = None
        length = self._measured()
        if length >= self._length or self._loop.time() > self._latest:
            self._give_up()
        else:
            self._length = length
            self._wait()

    def _measured(self) -> int:
        # The kernel takes from our buffer in lumps of megabytes; what the other side has not yet
        # acknowledged of those shows whether anything moves.
        held = ioctl(self._transport.get_extra_info("socket").fileno(), TIOCOUTQ, bytes(4))
        return self._transport.get_write_buffer_size() + int(unpack("i", held)[0])
