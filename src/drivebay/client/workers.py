"""A few threads that work through pieces, and hand the results back in order."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")

# How many pieces may be finished ahead of the oldest unfinished one: enough that one slow piece
# does not stop the others at once, and a bound on memory (each may hold a piece's bytes).
_AHEAD = 2


class Workers:
    """Up to *count* calls at once.

    Leaving the block waits for the calls in flight, so that none touches a file that is closed by
    then; after Ctrl-C it does not wait, and the threads, which are daemons, end with the process.
    """

    def __init__(self, count: int) -> None:
        self._inbox: SimpleQueue[tuple[Future[Any], Callable[[Any], Any], Any] | None] = (
            SimpleQueue()
        )
        self._window = count + _AHEAD
        self._pending: deque[Future[Any]] = deque()
        self._threads = [
            threading.Thread(target=self._loop, daemon=True, name=f"transfer-{index}")
            for index in range(count)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for future in self._pending:
            future.cancel()
        for _thread in self._threads:
            self._inbox.put(None)
        if kind is None or not issubclass(kind, KeyboardInterrupt):
            for thread in self._threads:
                thread.join()

    def map(self, work: Callable[[T], R], tasks: Iterable[T]) -> Iterator[tuple[T, Future[R]]]:
        """Yield each task with its finished future, in the order of *tasks*.

        Takes at most a window of tasks from *tasks* ahead of what it has yielded.
        """
        waiting: deque[T] = deque()
        for task in tasks:
            future: Future[R] = Future()
            waiting.append(task)
            self._pending.append(future)
            self._inbox.put((future, work, task))
            if len(self._pending) >= self._window:
                yield waiting.popleft(), self._oldest()
        while self._pending:
            yield waiting.popleft(), self._oldest()

    def _oldest(self) -> Future[Any]:
        # Wait first: a future that is no longer listed would not be cancelled on Ctrl-C.
        self._pending[0].exception()
        return self._pending.popleft()

    def _loop(self) -> None:
        while (entry := self._inbox.get()) is not None:
            future, work, task = entry
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work(task))
            except BaseException as error:  # noqa: BLE001 - it reaches whoever asks for the result
                future.set_exception(error)
            # An idle thread must not keep the last piece's bytes alive.
            del entry, future, work, task
