"""Sends requests within the process: to the ASGI application itself, or over its connections."""

import asyncio
import itertools
import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

from live import Answer


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose clock can be put forward, so that nobody waits for a deadline."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s


@dataclass(frozen=True)
class Request:
    """One request; *sent* bytes of its body arrive, in messages cut as *cuts* decides."""

    method: str
    path: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    sent: int | None = None
    then: Literal["end", "hang up", "stall"] = "end"
    cuts: int = 0

    @property
    def scope(self) -> dict[str, Any]:
        path, _, query = self.path.partition("?")
        headers = [(name.lower().encode(), text.encode("latin-1")) for name, text in self.headers]
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "http",
            "method": self.method,
            "path": unquote(path),
            "raw_path": path.encode("latin-1"),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(b"host", b"drives.example"), *headers],
            "client": ("192.0.2.1", 1024),
            "server": ("192.0.2.2", 80),
        }

    @property
    def head(self) -> bytes:
        """The request as it stands on the wire, without its body."""
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: drives.example"]
        lines += [f"{name}: {text}" for name, text in self.headers]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def messages(self) -> Iterator[dict[str, Any]]:
        arriving = self.body if self.then == "end" else self.body[: self.sent]
        dice = random.Random(self.cuts)
        places = sorted(dice.randrange(len(arriving) + 1) for _ in range(dice.randrange(5)))
        bounds = [0, *places, len(arriving)]
        pieces = [arriving[a:b] for a, b in itertools.pairwise(bounds)]
        for index, piece in enumerate(pieces):
            is_last = self.then == "end" and index == len(pieces) - 1
            yield {"type": "http.request", "body": piece, "more_body": not is_last}


def call(loop: Clock, app: Any, request: Request) -> Answer:
    """Return what *app* answers to *request*.

    It is checked that the answer is well-formed, and that a body which was not read to its end
    ends the connection.
    """
    sent: list[dict[str, Any]] = []
    messages = request.messages()
    is_read = not request.body

    async def receive() -> dict[str, Any]:
        nonlocal is_read
        message = next(messages, None)
        if message is None and request.then == "stall" and not is_read:
            loop.ahead_s += 3600
            await asyncio.Event().wait()
        if message is None:
            is_read = True
            return {"type": "http.disconnect"}
        is_read |= not message["more_body"]
        return message

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    loop.run_until_complete(app(request.scope, receive, send))
    answer = _answer(sent, is_head=request.method == "HEAD")
    assert is_read or answer.headers.get("connection") == "close", "a body was left unread"
    return answer


def converse(loop: Clock, connect: Callable[[], asyncio.BaseProtocol], request: Request) -> Answer:
    """Return the answer to *request* over a new connection, which a socket pair stands for."""
    return loop.run_until_complete(asyncio.wait_for(_conversation(loop, connect, request), 120))


async def _conversation(
    loop: Clock, connect: Callable[[], asyncio.BaseProtocol], request: Request
) -> Answer:
    client, server = socket.socketpair()
    client.setblocking(False)
    transport, _ = await loop.connect_accepted_socket(connect, server)
    reading = loop.create_task(_received(loop, client, request.method))
    try:
        await loop.sock_sendall(client, request.head)
        for message in request.messages():
            await loop.sock_sendall(client, message["body"])
            await asyncio.sleep(0)
        return await reading
    finally:
        client.close()
        transport.abort()
        await asyncio.sleep(0)


async def _more(loop: Clock, client: socket.socket) -> bytes:
    data = await loop.sock_recv(client, 2**20)
    assert data, "the connection ended before the answer did"
    return data


async def _received(loop: Clock, client: socket.socket, method: str) -> Answer:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await _more(loop, client)
    head, _, body = data.partition(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert len(headers) == len(lines), "a header twice"
    length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
    while len(body) < length:
        body += await _more(loop, client)
    assert len(body) == length, "more than the answer"
    headers.pop("date", None)
    return Answer(int(start.split()[1]), headers, body)


def _answer(sent: list[dict[str, Any]], *, is_head: bool) -> Answer:
    start, *parts = sent
    assert start["type"] == "http.response.start"
    assert [part["type"] for part in parts] == ["http.response.body"] * len(parts)
    assert [part.get("more_body", False) for part in parts] == [True] * (len(parts) - 1) + [False]
    names = [name.decode() for name, _ in start["headers"]]
    assert len(names) == len(set(names)), "a header twice"
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    body = b"".join(part.get("body", b"") for part in parts)
    status = start["status"]
    assert status != 204 or not (body or "content-length" in headers), "204 has no content"
    # A server sends no body for HEAD, whether the application gives one or not.
    assert status == 204 or is_head or int(headers["content-length"]) == len(body)
    return Answer(status, headers, b"" if is_head else body)
