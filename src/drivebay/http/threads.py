"""The threads that do blocking work for the loop.

A pool of its own, since the way there and back is most of what a request costs beside its bytes:
`loop.run_in_executor` chains two futures with a lock and callbacks each, and `asyncio.shield` adds
a third (decision 13 has the figures).
"""

import asyncio
import contextlib
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """At most *count* threads, each started when it is first needed.

    All methods are the loop's.
    """

    def __init__(self, count: int, name: str) -> None:
        """Call the threads *name*."""
        self._count = count
        self._name = name
        self._work: SimpleQueue[_Work[object] | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._in_hand = 0

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking *function* in a thread and return what it returns.

        The thread is never abandoned: a caller who hangs up does not end a write half way.
        """
        work = _Work(lambda: function(*args, **kwargs))
        self._in_hand += 1
        try:
            if self._in_hand > len(self._threads) and len(self._threads) < self._count:
                self._start()
            self._work.put(work)  # type: ignore[arg-type]  # nobody puts a result into it
            return await work.result
        except asyncio.CancelledError:
            # The thread works in the task's buffer, which another one gets when this one ends.
            await work.ended()
            raise
        finally:
            self._in_hand -= 1

    def close(self) -> None:
        """Wait for the work that was given, and end the threads."""
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        thread = Thread(target=self._run, name=name)
        try:
            thread.start()
        except RuntimeError:
            # The machine has no more; those that are there get to it.
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work.run()
            del work  # It holds what was worked on, megabytes, until there is more to do.


class _Work(Generic[T]):
    """One call on its way through a thread."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._loop = asyncio.get_running_loop()
        self._ended = False
        self._waiting: asyncio.Future[None] | None = None
        self.result: asyncio.Future[T] = self._loop.create_future()

    def run(self) -> None:
        """Do it, in the thread."""
        try:
            result = self._function()
        except BaseException as error:  # noqa: BLE001 - it is raised where the call was made
            self._tell(self._fail, error)
        else:
            self._tell(self._succeed, result)

    async def ended(self) -> None:
        """Return when the thread has done with it, however often the task is cancelled."""
        while not self._ended:
            self._waiting = self._loop.create_future()
            with contextlib.suppress(asyncio.CancelledError):
                await self._waiting

    def _tell(self, how: Callable[[Any], None], what: object) -> None:
        # A loop that was closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(how, what)

    def _succeed(self, result: T) -> None:
        self._end()
        if not self.result.done():
            self.result.set_result(result)

    def _fail(self, error: BaseException) -> None:
        self._end()
        if isinstance(error, StopIteration):
            # A future takes none, and whoever waits would wait for ever.
            stopped = error
            error = RuntimeError("an iterator was over")
            error.__cause__ = stopped
        if not self.result.done():
            self.result.set_exception(error)

    def _end(self) -> None:
        self._ended = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
