"""An imaging runner that goes on piece by piece, when it is told to."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

from drivebay.model import Drive as Row
from drivebay.model import Job
from drivebay.service.context import Context
from drivebay.service.imaging import Runner, Stopping
from drivebay.storage.volume import Volume

_WAIT_S = 120.0


class Killed(BaseException):
    """The runner's process dies here."""


class Stepper(Runner):
    """Runs jobs in a thread of its own, and waits after each piece before it is recorded."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.position: int | None = None
        """What was recorded last of the job at hand, if anything was since it was taken up."""
        self._turn = threading.Semaphore(0)
        self._reached = threading.Semaphore(0)
        self._work: Future[None] | None = None
        self._is_free = self._is_killed = self._has_ended = False

    @property
    def is_at_work(self) -> bool:
        return self._work is not None

    def step(self) -> bool:
        """Take the oldest job, or go on with the one at hand; return whether it goes on after."""
        if self._work is None:
            self.position = None
            self._is_free = self._has_ended = False
            pool = ThreadPoolExecutor(1)
            self._work = pool.submit(self._run_next)
            pool.shutdown(wait=False)
        else:
            self._turn.release()
        assert self._reached.acquire(timeout=_WAIT_S), "the runner is stuck"
        return not self._has_ended or self._join()

    def set_free(self) -> None:
        """Let the job at hand go on to its end, without waiting for it."""
        self._is_free = True
        self._turn.release()

    def await_end(self) -> None:
        assert self._reached.acquire(timeout=_WAIT_S), "the runner is stuck"
        self._join()

    def stop_at_work(self) -> None:
        """Stop as for a restart: what is done is recorded."""
        self.stop()
        self.set_free()
        self.await_end()

    def kill(self) -> None:
        """Stop as by kill -9: the piece that was copied last is not recorded."""
        self._is_killed = True
        self.set_free()
        self.await_end()

    def record(self, job: Job, destination: Row, volume: Volume, position: int) -> None:
        if not self._is_free:
            self._reached.release()
            assert self._turn.acquire(timeout=_WAIT_S), "nobody tells the runner to go on"
        if self._is_killed:
            raise Killed
        try:
            super().record(job, destination, volume, position)
        except Stopping:
            self.position = position  # It is recorded before the runner stops.
            raise
        self.position = position

    def _run_next(self) -> None:
        try:
            assert self.run_next(), "there was no job"
        except (Stopping, Killed):
            pass
        finally:
            self._has_ended = True
            self._reached.release()

    def _join(self) -> bool:
        assert self._work is not None
        work, self._work = self._work, None
        work.result()
        return False
