"""A TCP proxy that breaks connections, holds them, or changes what comes back."""

import contextlib
import socket
import threading
from dataclasses import dataclass
from typing import Self


@dataclass
class Rule:
    """What happens once *after* bytes went in one direction, at most *times* times."""

    action: str
    after: int
    times: int = 1_000_000


class Proxy:
    """Stands between a client and a server on 127.0.0.1.

    *up* rules over what the client sends, *down* over what it gets: `cut` closes the connection,
    `hold` passes nothing on.  `replaced` changes bytes on their way down.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.rules: dict[str, Rule] = {}
        self.counts = {"up": 0, "down": 0}
        self.replaced: tuple[bytes, bytes] | None = None
        self.held = threading.Event()
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            sockets = list(self._sockets)
        for one in sockets:
            _close(one)
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()

    def wait_for_hold(self) -> None:
        assert self.held.wait(60), f"nothing was held after {self.counts}"

    def _start(self, work, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            with self._lock:
                self._sockets += [client, server]
            self._start(self._pump, client, server, "up")
            self._start(self._pump, server, client, "down")

    def _pump(self, source: socket.socket, sink: socket.socket, direction: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                action = self._action(direction, len(data))
                if action == "cut":
                    break
                if action == "hold":
                    self.held.set()
                    self._released.wait()
                    break
                if direction == "down" and self.replaced:
                    data = data.replace(*self.replaced)
                sink.sendall(data)
        _close(source)
        _close(sink)

    def _action(self, direction: str, length: int) -> str:
        with self._lock:
            self.counts[direction] += length
            rule = self.rules.get(direction)
            if rule is None or self.counts[direction] <= rule.after or rule.times <= 0:
                return ""
            rule.times -= 1
            return rule.action


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
