"""The job worker: runs imaging jobs, a few at a time, until it is told to end."""

import logging
import os
import select
import signal
import threading

from drivebay.catalog import jobs as job_rows
from drivebay.errors import DrivebayError
from drivebay.service.context import Context
from drivebay.service.imaging import Runner, Stopping

_log = logging.getLogger("drivebay.jobs")

# A wake-up can be lost with the process that sent it; work is looked for this often without one.
_LOOK_EVERY_S = 2.0


class JobWorker:
    """One process's runners and what wakes and ends them."""

    def __init__(self, ctx: Context, *, runners: int, wake_fd: int, lifeline_fd: int) -> None:
        """Run up to *runners* jobs at once.

        *wake_fd* is an eventfd that says there may be work; *lifeline_fd* a pipe that ends when
        the parent does.
        """
        self._ctx = ctx
        self._runners = [Runner(ctx) for _ in range(runners)]
        self._wake_fd = wake_fd
        self._lifeline_fd = lifeline_fd
        self._work = threading.Condition()
        self._rounds = 0
        self._stopping = False

    def run(self) -> None:
        """Work until SIGTERM or the parent's end; jobs that are not done stay for the next run."""
        stop_read, stop_write = os.pipe()
        os.set_blocking(stop_write, False)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.set_wakeup_fd(stop_write)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        with self._ctx.catalog.write() as tx:
            requeued = job_rows.requeue_running(tx)
        if requeued:
            _log.info("%d interrupted imaging jobs queued again", requeued)
        threads = [
            threading.Thread(target=self._loop, args=(runner,), name=f"imaging-{index}")
            for index, runner in enumerate(self._runners)
        ]
        for thread in threads:
            thread.start()
        while not self._stopping:
            ready, _, _ = select.select(
                [self._wake_fd, self._lifeline_fd, stop_read], [], [], _LOOK_EVERY_S
            )
            if stop_read in ready or self._lifeline_fd in ready:
                self._stopping = True
            if self._wake_fd in ready:
                os.eventfd_read(self._wake_fd)
            self._wake()
            for store in self._ctx.stores.values():
                store.close_idle()
        for runner in self._runners:
            runner.stop()
        self._wake()
        for thread in threads:
            thread.join()
        # Nobody runs them now: a cancel that comes while the others still end is done at once.
        with self._ctx.catalog.write() as tx:
            job_rows.requeue_running(tx)

    def _wake(self) -> None:
        with self._work:
            self._rounds += 1
            self._work.notify_all()

    def _loop(self, runner: Runner) -> None:
        while not self._stopping:
            seen = self._rounds
            try:
                while runner.run_next():
                    pass
            except Stopping:
                return
            except DrivebayError:
                # The catalog failed; the job's row says `running`, and the next start takes it up.
                _log.exception("a job could not be taken or ended")
            with self._work:
                while self._rounds == seen and not self._stopping:
                    self._work.wait()
