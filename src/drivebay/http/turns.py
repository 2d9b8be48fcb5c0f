"""How much one user may have in flight in one worker, so that nobody takes all of its threads."""

import asyncio
from collections import OrderedDict
from contextlib import AbstractAsyncContextManager
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

    def taken(self, user: UUID) -> AbstractAsyncContextManager[None]:
        """Wait until *user* has one left, and hold it.

        Raises:
            Refusal: none ended in time.
        """
        semaphore = self._left.get(user)
        if semaphore is None:
            semaphore = self._left[user] = asyncio.Semaphore(self._per_user)
        self._left.move_to_end(user)
        return _Turn(self, semaphore)

    async def acquire(self, semaphore: asyncio.Semaphore) -> None:
        """Wait for a turn; see `taken`."""
        if not semaphore.locked():
            await semaphore.acquire()
            return
        try:
            async with asyncio.timeout(self._wait_s):
                await semaphore.acquire()
        except TimeoutError as error:
            sentence = f"{self._per_user} {self._what} of yours are in flight; let some end first"
            raise Refusal(409, ErrorWord.BUSY, sentence) from error

    def release(self, semaphore: asyncio.Semaphore) -> None:
        """Give a turn back."""
        semaphore.release()
        while len(self._left) > _IDLE_MAX:
            user, semaphore = next(iter(self._left.items()))
            if semaphore._value != self._per_user:  # noqa: SLF001 - there is no public count
                break
            del self._left[user]


class _Turn(AbstractAsyncContextManager[None]):
    def __init__(self, turns: Turns, semaphore: asyncio.Semaphore) -> None:
        self._turns = turns
        self._semaphore = semaphore

    async def __aenter__(self) -> None:
        await self._turns.acquire(self._semaphore)

    async def __aexit__(self, *_: object) -> None:
        self._turns.release(self._semaphore)
