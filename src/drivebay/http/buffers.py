"""Buffers for transfers, kept for the next one, from any thread.

To have the kernel find and clear the pages of a new one takes longer than to encrypt it.  The one
that was used last is given out first, since it is the one that is still in the caches.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from drivebay.model import TRANSFER_MAX

_KEPT_MAX = 4


class Buffers:
    """Buffers of 4 MiB that hold whatever was there before."""

    def __init__(self) -> None:
        """Keep none yet."""
        self._kept: list[bytearray] = []

    def take(self) -> bytearray:
        """Return one; it is the caller's until `give`, or for good."""
        try:
            return self._kept.pop()
        except IndexError:
            return bytearray(TRANSFER_MAX)

    def give(self, buffer: bytearray) -> None:
        """Keep *buffer*, which nobody looks at any more, for the next one."""
        if len(self._kept) < _KEPT_MAX:
            self._kept.append(buffer)

    @contextmanager
    def lent(self, length: int) -> Iterator[memoryview]:
        """Give out the first *length* bytes of one while the block runs."""
        kept = self.take()
        try:
            yield memoryview(kept)[:length]
        finally:
            self.give(kept)
