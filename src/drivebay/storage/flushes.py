"""Flushes of one volume that several threads share: who comes in time is served by the same one."""

from collections.abc import Callable
from threading import Condition


class SharedFlush:
    """The flushes of one volume, one at a time.

    A call is served by a flush that begins after the call did, so what was written before it is
    part of that flush.  Writers that come while one is running wait for the next, together.
    """

    def __init__(self) -> None:
        """Begin with no flush running."""
        self._changed = Condition()
        self._is_running = False
        self._begun = 0
        self._ended = 0
        # The failures of flushes that somebody may still wait for, by their number.
        self._failures: dict[int, BaseException] = {}
        self._waiting: dict[int, int] = {}

    def run(self, flush: Callable[[], None]) -> None:
        """Return when a *flush*, one's own or another's, has begun and ended.

        Raises what that flush raised.
        """
        with self._changed:
            mine = self._begun + 1
            self._waiting[mine] = self._waiting.get(mine, 0) + 1
            self._changed.wait_for(lambda: self._ended >= mine or not self._is_running)
            must_run = self._ended < mine
            if must_run:
                self._is_running = True
                self._begun = mine
        if must_run:
            self._run_as(mine, flush)
        with self._changed:
            failure = self._failures.get(mine)
            self._leave(mine)
        if failure is not None:
            raise failure

    def waiting(self) -> int:
        """Return how many calls have not returned."""
        with self._changed:
            return sum(self._waiting.values())

    def _run_as(self, number: int, flush: Callable[[], None]) -> None:
        failure: BaseException | None = None
        try:
            flush()
        except BaseException as error:  # noqa: BLE001 - it is raised by everybody who shared it
            failure = error
        with self._changed:
            if failure is not None:
                self._failures[number] = failure
            self._is_running = False
            self._ended = number
            self._changed.notify_all()

    def _leave(self, number: int) -> None:
        self._waiting[number] -= 1
        if not self._waiting[number]:
            del self._waiting[number]
            self._failures.pop(number, None)
