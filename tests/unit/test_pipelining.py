"""Requests that come all at once are answered in turns, so that nobody else waits for all."""

import asyncio
import os

import pytest
import uvicorn
from uvicorn.server import ServerState

from drivebay.http import connection
from drivebay.http.connection import Connection

REQUEST = b"GET /drives/x/info HTTP/1.1\r\nHost: drives.example\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Transport:
    """Takes everything at once."""

    def __init__(self) -> None:
        self.written = b""
        self.is_reading = True

    def set_write_buffer_limits(self, *, high: int) -> None:
        assert high == 0

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        self.written += b"".join(parts)

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> "Transport":
        assert name == "socket"
        return self

    def fileno(self) -> int:
        return 0

    @property
    def answers(self) -> int:
        return self.written.count(ANSWER)


async def made() -> tuple[Connection, Transport]:
    async def app(_scope: object, _receive: object, _send: object) -> None: ...

    kind = type("Protocol", (Connection,), {"answer_now": staticmethod(lambda _head: ANSWER)})
    config = uvicorn.Config(app, interface="asgi3", lifespan="off", log_config=None)
    made, transport = kind(config, ServerState(), {}), Transport()
    made.connection_made(transport)
    return made, transport


def arrive(made: Connection, data: bytes) -> None:
    made.get_buffer(len(data))[: len(data)] = data
    made.buffer_updated(len(data))


def test_others_have_their_turn_between_pipelined_requests():
    async def run() -> list[tuple[int, bool]]:
        made_, transport = await made()
        count = 2 * connection._ANSWERS_MAX + 3

        arrive(made_, count * REQUEST)

        seen = []
        while not seen or seen[-1][0] < count:
            seen.append((transport.answers, transport.is_reading))
            await asyncio.sleep(0)
        return [*seen, (transport.answers, transport.is_reading)]

    most = connection._ANSWERS_MAX
    assert asyncio.run(run()) == [
        (most, False),
        (2 * most, False),
        (2 * most + 3, True),
        (2 * most + 3, True),
    ]


def test_what_no_thread_can_send_for_want_of_a_descriptor_is_sent_by_the_loop(monkeypatch):
    def none_left(_fd: int) -> int:
        raise OSError(24, os.strerror(24))

    async def run() -> None:
        made_, _ = await made()
        monkeypatch.setattr(os, "dup", none_left)

        assert made_.direct() is None

    asyncio.run(run())


@pytest.mark.parametrize("left", [0, 1])
def test_a_thread_sends_nothing_while_bytes_before_wait(monkeypatch, left):
    async def run() -> None:
        made_, transport = await made()
        monkeypatch.setattr(transport, "get_write_buffer_size", lambda: left)

        sender = made_.direct()

        assert (sender is None) == bool(left)
        made_.connection_lost(None)

    asyncio.run(run())
