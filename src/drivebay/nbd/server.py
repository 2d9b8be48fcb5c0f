"""The NBD server of one process: takes connections, a thread for each, and watches their claims."""

import logging
import os
import select
import signal
import socket
import threading
import time

from drivebay.nbd.aside import Disks
from drivebay.nbd.connection import Connection, Surroundings
from drivebay.nbd.listening import Listening
from drivebay.service.context import Context
from drivebay.service.sessions import Serving

_log = logging.getLogger("drivebay.nbd")

CONNECTIONS_MAX = 1024
"""How many connections one process has at once."""

TICKETLESS_MAX = 64
"""How many of them may have shown no ticket yet; for one more the oldest gives way."""

WATCH_EVERY_S = 0.02
"""How soon a connection whose claim has ended is closed."""

# How long a process that has connections stands back for each, when another one comes.
_BEHIND_S = 0.0002
_BEHIND_MAX = 16


class Server:
    """Serves claimed drives until it is told to end."""

    def __init__(
        self,
        ctx: Context,
        serving: Serving,
        listening: Listening,
        *,
        handshake_timeout_s: float,
        stall_timeout_s: float,
    ) -> None:
        """Serve the claims of *ctx* to who connects to *listening*; tell of them by *serving*."""
        self._ctx = ctx
        self._listening = listening
        self._around = Surroundings(
            ctx,
            serving,
            Disks(),
            listening.tls,
            handshake_timeout_s,
            stall_timeout_s,
        )
        self._changed = threading.Condition()
        # In the order of their arrival.
        self._connections: dict[Connection, threading.Thread] = {}

    def run(self, lifeline_fd: int, *, stop_timeout_s: float) -> None:
        """Serve until SIGTERM or the end of *lifeline_fd*; then finish what has arrived."""
        stop_read, stop_write = os.pipe()
        os.set_blocking(stop_write, False)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.set_wakeup_fd(stop_write)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        threading.Thread(target=self._watch, name="nbd-watch", daemon=True).start()
        listeners = {listener.fileno(): listener for listener in self._listening.sockets}
        poll = select.poll()
        for fd in (lifeline_fd, stop_read, *listeners):
            poll.register(fd, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if lifeline_fd in ready or stop_read in ready:
                break
            self._let_idler_first()
            for fd in ready:
                self._accept(listeners[fd])
        self._finish(stop_timeout_s)

    def _let_idler_first(self) -> None:
        """Give processes with fewer connections the time to take the one that has come.

        All processes are woken by it, and one process runs Python on one core only.
        """
        time.sleep(min(len(self._connections), _BEHIND_MAX) * _BEHIND_S)

    def _accept(self, listener: socket.socket) -> None:
        try:
            accepted, _ = listener.accept()
        except BlockingIOError:
            return  # Another process was faster.
        except OSError as error:
            _log.error("a connection could not be accepted: %s", error)
            time.sleep(WATCH_EVERY_S)  # No descriptors are left until some connection ends.
            return
        if not self._has_room():
            _log.warning("a connection was refused: there are %d", CONNECTIONS_MAX)
            accepted.close()
            return
        try:
            connection = Connection(accepted, self._listening.tls_for(accepted), self._around)
        except OSError:
            accepted.close()  # The client is gone again, or there are no descriptors.
            return
        thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
        with self._changed:
            self._connections[connection] = thread
            self._changed.notify_all()
        try:
            thread.start()
        except RuntimeError:
            _log.error("no thread could be started for a connection")
            self._serve_without(connection)

    def _has_room(self) -> bool:
        """Whether one more may come; at a limit the oldest that has shown no ticket gives way."""
        with self._changed:
            ticketless = [one for one in self._connections if one.claim is None]
            is_full = len(self._connections) >= CONNECTIONS_MAX
            if ticketless and (is_full or len(ticketless) >= TICKETLESS_MAX):
                ticketless[0].end()
            return bool(ticketless) or not is_full

    def _serve(self, connection: Connection) -> None:
        try:
            connection.serve()
        finally:
            with self._changed:
                del self._connections[connection]
                self._changed.notify_all()

    def _serve_without(self, connection: Connection) -> None:
        connection.end()
        self._serve(connection)

    def _watch(self) -> None:
        """Close connections whose claims have ended, soon after that was committed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._connections))
            self._look()
            time.sleep(WATCH_EVERY_S)

    def _look(self) -> None:
        with self._changed:
            connections = list(self._connections)
        try:
            version = self._ctx.catalog.version()
            for connection in connections:
                connection.end_unless_held(version)
        except Exception:  # noqa: BLE001 - without the watch no claim would end in time
            _log.exception("the claims of connections could not be looked at")

    def _finish(self, stop_timeout_s: float) -> None:
        self._listening.close()
        with self._changed:
            for connection in self._connections:
                connection.finish()
            self._changed.wait_for(lambda: not self._connections, stop_timeout_s)
            for connection in self._connections:
                connection.end()
        self._around.disks.close()
