"""A server that writes without end."""

import os
import random
import struct
from threading import Event, Thread

from drivebay.units import MIB
from nbd.claimed import Claimed
from nbd.client import Closed, Request, write

BLOCK = 4096
DEPTH = 16


class Writer:
    """Writes numbered blocks all over the first MiB, sixteen at a time, until it is cut off."""

    def __init__(self, drive: Claimed) -> None:
        """Connect and begin."""
        self.client = drive.open()
        self.errors: set[int] = set()
        self.answered = 0
        self._dice = random.Random(os.urandom(8))
        self._number = 0
        self._is_busy = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._is_busy.wait(60)

    def _next(self) -> Request:
        self._number += 1
        at = self._dice.randrange(MIB // BLOCK) * BLOCK
        return write(at, struct.pack(">Q", self._number) * (BLOCK // 8))

    def _run(self) -> None:
        try:
            self.client.submit(*(self._next() for _ in range(DEPTH)))
            while True:
                _, reply = self.client.reply()
                self.answered += not reply.error
                if reply.error:
                    self.errors.add(reply.error)
                if self.answered == 10 * DEPTH:
                    self._is_busy.set()
                self.client.submit(self._next())
        except (Closed, OSError):
            return

    def is_cut_off(self) -> bool:
        """Wait until it is, for a while."""
        self._thread.join(10)
        return not self._thread.is_alive()
