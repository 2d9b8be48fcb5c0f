"""Requests as bytes, and answers one by one as they come off a raw connection."""

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from live import Answer, Credentials, Server, authorization
from wire.description import DESCRIPTION


def request(
    method: str,
    path: str,
    body: bytes | str | None = None,
    *,
    user: Credentials | None = None,
    headers: Sequence[str] = (),
    version: str = "1.1",
) -> bytes:
    """Return one request, with a Content-Length where there is a *body*."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"{method} {path} HTTP/{version}", "Host: drivebay", *headers]
    if user is not None:
        lines.append(f"Authorization: {authorization(user)}")
    if data is not None:
        lines.append(f"Content-Length: {len(data)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (data or b"")


class Wire:
    """A raw connection to a service."""

    def __init__(self, server: Server) -> None:
        """Connect."""
        self.socket = server.connect()
        self.head = b""
        self._received = b""

    def send(self, *parts: bytes) -> Self:
        """Send bytes as they are."""
        for part in parts:
            self.socket.sendall(part)
        return self

    def answer(self, *, has_body: bool = True) -> Answer:
        """Wait for the next answer; its start is kept as it came in `head`.

        Interim answers (1xx), 204 and, where *has_body* is false, those to HEAD have no body.
        """
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        self.head = head
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers, f"{name} twice in {head!r}"
            headers[name.lower()] = value
        status = int(status_line.split(" ")[1])
        assert status_line.startswith("HTTP/1.1 "), head
        assert "transfer-encoding" not in headers, head
        length = int(headers["content-length"]) if "content-length" in headers else 0
        if status < 200 or status == 204 or not has_body:
            length = 0
        while len(self._received) < length:
            self._receive()
        body, self._received = self._received[:length], self._received[length:]
        return Answer(status, headers, body)

    def is_closed(self) -> bool:
        """Wait for the end of the connection; False where something else comes first."""
        if self._received:
            return False
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def ask(self, *arguments, **named) -> Answer:
        """Send one `request` and return its answer."""
        self.send(request(*arguments, **named))
        return self.answer(has_body=arguments[0] != "HEAD")

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self) -> None:
        part = self.socket.recv(1 << 20)
        assert part, f"the connection ended after {self._received[:200]!r}"
        self._received += part


@dataclass
class Caller:
    """One user of one service."""

    server: Server
    user: Credentials

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        *headers: str,
    ) -> Answer:
        """Send one request on a connection of its own; its answer must be one that is described."""
        with Wire(self.server) as wire:
            answer = wire.ask(method, path, body, user=self.user, headers=headers)
        DESCRIPTION.judge(method, path, answer)
        return answer

    def create(self, text: str = "size 64k") -> str:
        """Make a drive and return its uuid."""
        return self.server.create(text, user=self.user)

    def write(self, drive: str, content: bytes, offset: int = 0) -> None:
        """Write, and mind that it was written."""
        answer = self.ask("POST", f"/drives/{drive}/write/{offset}", content)
        assert answer.status == 204, answer

    def read(self, drive: str, offset: int, length: int) -> bytes:
        """Read, and mind that it was read."""
        answer = self.ask("GET", f"/drives/{drive}/read/{offset}/{length}")
        assert answer.status == 200, answer
        return answer.body

    def info(self, drive: str) -> dict[str, str]:
        """Return the full record."""
        answer = self.ask("GET", f"/drives/{drive}/info/full")
        assert answer.status == 200, answer
        return answer.record

    def state(self, drive: str) -> tuple[str, dict[str, str], bytes]:
        """Return which drives the user has, and one's record, but how often it was read, and bytes."""
        with Wire(self.server) as wire:
            listed = wire.ask("GET", "/drives/list", user=self.user)
            info = wire.ask("GET", f"/drives/{drive}/info/full", user=self.user)
            content = wire.ask(
                "GET", f"/drives/{drive}/read/0/{info.record['size']}", user=self.user
            )
        assert (listed.status, content.status) == (200, 200)
        record = info.record
        del record["read:bytes"], record["read:requests"]
        return listed.text, record, content.body


def refused(answer: Answer, status: int, word: str) -> str:
    """Check that *answer* is a refusal as the API words them, and return its sentence."""
    shown = (answer.status, answer.headers.get("x-elastic-error"), answer.body[:200])
    assert (answer.status, answer.headers.get("x-elastic-error")) == (status, word), shown
    assert answer.headers["content-type"] == "text/plain; charset=utf-8", shown
    assert answer.headers.get("www-authenticate", "") == (
        'Basic realm="drivebay", charset="UTF-8"' if status == 401 else ""
    )
    assert answer.body.endswith(b"\n"), shown
    assert answer.body.count(b"\n") == 1, shown
    assert len(answer.body) < 400, shown
    assert b"Traceback" not in answer.body, shown
    return answer.text


def eventually(is_so: Callable[[], bool], within_s: float = 60.0) -> None:
    """Wait until *is_so*."""
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.01)
