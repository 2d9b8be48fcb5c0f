"""How much one user may have in flight in one worker, so that nobody takes all of its threads."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from drivebay.http.errors import Refusal
from drivebay.wire import ErrorWord

# Users whose turns are remembered though none is taken.
_IDLE_MAX = 1024


class Turns:
    """Turns of one kind, *per_user* of them at once for each user; more wait."""

    def __init__(self, what: str, *, per_user: int, wait_s: float) -> None:
        """Call them *what* to whoever waited *wait_s* for one in vain."""
        self._what = what
        self._per_user = per_user
        self._wait_s = wait_s
        self._left: OrderedDict[UUID, asyncio.Semaphore] = OrderedDict()

    @asynccontextmanager
    async def taken(self, user: UUID) -> AsyncIterator[None]:
        """Wait until *user* has one left, and hold it.

        Raises:
            Refusal: none ended in time.
        """
        semaphore = self._left.setdefault(user, asyncio.Semaphore(self._per_user))
        self._left.move_to_end(user)
        await self._acquire(semaphore)
        try:
            yield
        finally:
            semaphore.release()
            self._forget_idle()

    async def _acquire(self, semaphore: asyncio.Semaphore) -> None:
        if not semaphore.locked():
            await semaphore.acquire()
            return
        try:
            async with asyncio.timeout(self._wait_s):
                await semaphore.acquire()
        except TimeoutError as error:
            sentence = f"{self._per_user} {self._what} of yours are in flight; let some end first"
            raise Refusal(409, ErrorWord.BUSY, sentence) from error

    def _forget_idle(self) -> None:
        while len(self._left) > _IDLE_MAX:
            user, semaphore = next(iter(self._left.items()))
            if semaphore._value != self._per_user:  # noqa: SLF001 - there is no public count
                break
            del self._left[user]
