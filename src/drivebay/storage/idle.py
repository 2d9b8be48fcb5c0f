"""File descriptors of volumes that were closed a moment ago, kept open for whoever comes next."""

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from uuid import UUID

KEPT_MAX = 256
"""How many descriptors one store keeps at most."""

KEPT_S = 5.0
"""How long one is kept unused, so that a store's file system can be unmounted."""


class IdleDescriptors:
    """The descriptors that nobody uses now; each holds no lock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep nothing yet."""
        self._clock = clock
        self._lock = Lock()
        # In the order in which they were last used; a volume may have several.
        self._kept: OrderedDict[int, tuple[UUID, float]] = OrderedDict()
        self._by_uuid: dict[UUID, list[int]] = {}

    def __del__(self) -> None:
        self.close()

    def take(self, uuid: UUID) -> int | None:
        """Return a descriptor of the volume, which is the caller's from now on, if one is kept."""
        with self._lock:
            fds = self._by_uuid.get(uuid)
            if not fds:
                return None
            fd = fds[-1]
            self._forget(fd)
            return fd

    def give(self, uuid: UUID, fd: int) -> None:
        """Keep *fd* for the next one."""
        with self._lock:
            self._kept[fd] = (uuid, self._clock())
            self._by_uuid.setdefault(uuid, []).append(fd)
            oldest = next(iter(self._kept)) if len(self._kept) > KEPT_MAX else None
            if oldest is not None:
                self._forget(oldest)
        if oldest is not None:
            _close(oldest)

    def close(self, *, unused_s: float = 0.0) -> None:
        """Close what was not used for *unused_s*."""
        limit = self._clock() - unused_s
        with self._lock:
            old = [fd for fd, (_, used) in self._kept.items() if used <= limit]
            for fd in old:
                self._forget(fd)
        for fd in old:
            _close(fd)

    def _forget(self, fd: int) -> None:
        uuid, _ = self._kept.pop(fd)
        fds = self._by_uuid[uuid]
        fds.remove(fd)
        if not fds:
            del self._by_uuid[uuid]


def _close(fd: int) -> None:
    # It is closed even where this fails, and what was to last was flushed before.
    with suppress(OSError):
        os.close(fd)
