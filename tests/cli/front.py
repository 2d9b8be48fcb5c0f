"""An HTTP front before the real service: it counts what is asked, and lies when it is told to."""

import http.client
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from live import Answer


@dataclass
class Call:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def verb(self) -> str:
        """What it is about: the word behind the drive, such as `read`."""
        parts = self.path.split("/")
        return parts[3] if len(parts) > 3 else parts[2]

    @property
    def offset(self) -> int:
        """The offset of a read or a write."""
        return int(self.path.split("/")[4])


@dataclass
class Lie:
    """An answer that is sent as it stands; a *body* of several parts may have no end."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] = b""


class Front:
    """Passes requests to a service on 127.0.0.1.

    *twist* may change a request on its way; *lie* sees request and answer, and returns another
    answer, or None for the true one.
    """

    def __init__(self, port: int) -> None:
        self.calls: list[Call] = []
        self.twist: Callable[[Call], bytes] = lambda call: call.body
        self.lie: Callable[[Call, Answer], Lie | None] = lambda call, answer: None
        self.in_flight = self.in_flight_max = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, port))
        self._server.daemon_threads = False
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def made(self, verb: str) -> list[Call]:
        """Return the calls of that kind, by offset."""
        return sorted((call for call in self.calls if call.verb == verb), key=lambda c: c.offset)

    def offsets(self, verb: str) -> list[int]:
        return [call.offset for call in self.made(verb)]

    def begin(self, call: Call) -> None:
        with self._lock:
            self.calls.append(call)
            self.in_flight += 1
            self.in_flight_max = max(self.in_flight_max, self.in_flight)

    def end(self) -> None:
        with self._lock:
            self.in_flight -= 1


def _handler(front: Front, port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            call = Call(self.command, self.path, headers, body)
            front.begin(call)
            try:
                answer = _forwarded(port, call, front.twist(call))
                lie = front.lie(call, answer)
            finally:
                front.end()
            self._answer(lie or Lie(answer.status, answer.headers, answer.body))

        do_POST = do_DELETE = do_GET  # noqa: N815 - the names that BaseHTTPRequestHandler calls

        def _answer(self, lie: Lie) -> None:
            self.send_response_only(lie.status)
            for name, value in lie.headers.items():
                self.send_header(name, value)
            if isinstance(lie.body, bytes):
                if "content-length" not in lie.headers and lie.status != 204:
                    self.send_header("content-length", str(len(lie.body)))
                parts: Iterable[bytes] = [lie.body]
            else:
                parts = lie.body
                self.close_connection = True
            self.end_headers()
            try:
                for part in parts:
                    self.wfile.write(part)
            except OSError:
                # The client has heard enough.
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _forwarded(port: int, call: Call, body: bytes) -> Answer:
    hop_by_hop = {"host", "connection", "content-length"}
    headers = {name: value for name, value in call.headers.items() if name not in hop_by_hop}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(call.method, call.path, body or None, headers)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        found.pop("connection", None)
        return Answer(response.status, found, response.read())
    finally:
        connection.close()
