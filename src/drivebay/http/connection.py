"""One connection: uvicorn's server below, the application above, a body straight into its buffer.

uvicorn takes a protocol class of ours (`Config(http=...)`) and keeps the rest: the loop, the
sockets, the orderly end.  Ours differs from its own where a server of large bodies on an open port
must: heads have a deadline and limits; a body is received into the buffer that it is meant for, and
only when the application asks; a request that can be answered without waiting is answered without a
task; and a connection whose body was not read is closed so that the caller sees the answer.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from starlette.types import ASGIApp, Message, Scope
from uvicorn.config import Config
from uvicorn.server import ServerState

from drivebay.http.direct import DirectSender
from drivebay.http.errors import Refusal
from drivebay.http.framing import Head, HeadReader, KnownHeads
from drivebay.http.pace import RATE_MIN_BYTES_PER_S, Pace, untaken
from drivebay.units import KIB, MIB

_log = logging.getLogger("drivebay.http")

Bytes = bytes | bytearray | memoryview

NowAnswer = Callable[[Head], bytes | None]
"""Returns the answer to a request without a body, from its status line on without the Date, or None
where that would take waiting or is no success."""

# After an answer that left a body unread: how much and how long to read on before hanging up, so
# that the caller gets to see the answer instead of a reset.
_LINGER_S = 2.0
_LINGER_MAX_BYTES = 64 * MIB

# What may arrive unasked: the head, and what came in the same packets behind it.
_INBOX_MAX = 64 * KIB
_SCRATCH = memoryview(bytearray(_INBOX_MAX))

# How many pipelined requests are answered before the other connections have their turn.
_ANSWERS_MAX = 16

_KNOWN_HEADS = KnownHeads()

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Disconnected(Exception):
    """The caller is gone."""


class TooSlow(Exception):
    """The caller has sent too little for too long."""


class Connection(asyncio.BufferedProtocol):
    """One connection's state; every method runs in the loop's thread."""

    header_timeout_s = 15.0
    stall_timeout_s = 30.0
    answer_now: NowAnswer = staticmethod(lambda _head: None)

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """As uvicorn makes its protocols."""
        del app_state
        if not config.loaded:
            config.load()
        self._app = cast("ASGIApp", config.loaded_app)
        self._keep_alive_s = float(config.timeout_keep_alive)
        self._server = server_state
        self._loop = _loop or asyncio.get_running_loop()
        self._transport = cast("asyncio.Transport", None)
        self._inbox = bytearray()
        self._reader = HeadReader(_KNOWN_HEADS)
        self._exchange: Exchange | None = None
        self._is_lost = False
        self._keeps_alive = True
        self._is_begun = True
        self._has_ended = False
        self._is_paused = False
        # What of the present body the application has not taken yet, the inbox's part included.
        self._body_left = 0
        self._target: memoryview | None = None
        self._filled = 0
        self._arrived: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._is_full = False
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._taking: Pace | None = None
        self._lingered: int | None = None
        self._direct: DirectSender | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first head."""
        self._transport = cast("asyncio.Transport", transport)
        # A write is over when the kernel has all of it: then its buffer may be used again.
        self._transport.set_write_buffer_limits(high=0)
        self._server.connections.add(cast("Any", self))
        self._set_deadline(self.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        del exc
        self._is_lost = True
        self._server.connections.discard(cast("Any", self))
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
        self._stop_taking()
        for waiting in (self._arrived, self._drained):
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        if self._exchange is not None:
            self._exchange.gone.set()
        else:
            self._close_direct()

    def eof_received(self) -> bool:
        """Answer what was asked in whole before the caller ended its side; else hang up."""
        self._has_ended = True
        if self._lingered is not None or self._exchange is None:
            return False
        return self._body_left <= len(self._inbox)

    def pause_writing(self) -> None:
        """Watch whether the caller takes what the kernel could not."""
        self._is_full = True
        if self._taking is None:
            length = untaken(self._transport)
            self._taking = Pace(
                lambda: untaken(self._transport),
                self._cut_off_reader,
                stall_s=self.stall_timeout_s,
                within_s=self.stall_timeout_s + length / RATE_MIN_BYTES_PER_S,
            )

    def resume_writing(self) -> None:
        """Go on: the kernel has taken everything."""
        self._is_full = False
        self._stop_taking()
        if self._exchange is None:
            self._next()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to put what arrives: into the body's buffer where one is waiting."""
        del sizehint
        # One scratch buffer serves all: it is emptied before another connection can ask for it.
        return _SCRATCH if self._target is None else self._target[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take what has arrived."""
        if self._target is not None:
            self._filled += nbytes
            if self._filled == len(self._target):
                self._end_arrival()
            return
        if self._lingered is not None:
            self._lingered += nbytes
            if self._lingered > _LINGER_MAX_BYTES:
                self.abort()
            return
        self._inbox += _SCRATCH[:nbytes]
        if self._exchange is None:
            self._next()
        elif len(self._inbox) >= _INBOX_MAX:
            self._pause()

    # What uvicorn's server calls.

    def shutdown(self) -> None:
        """End after the request in flight, or now."""
        self._keeps_alive = False
        if self._exchange is None:
            self._transport.close()

    # What the application calls, through its exchange.

    def abort(self) -> None:
        """Hang up at once."""
        self._transport.abort()

    def is_gone(self) -> bool:
        """Whether the caller has hung up."""
        return self._is_lost

    @property
    def body_left(self) -> int:
        """How many bytes of the present request's body have not been taken."""
        return self._body_left

    async def fill(self, view: memoryview, *, stall_s: float, within_s: float) -> None:
        """Fill *view* with the body's next bytes; there must be as many.

        Raises:
            Disconnected: the caller hung up before.
            TooSlow: nothing came for *stall_s*, or not all within *within_s*.
        """
        assert len(view) <= self._body_left, "more than the body has"
        early = min(len(view), len(self._inbox))
        if early:
            view[:early] = memoryview(self._inbox)[:early]
            del self._inbox[:early]
        if early < len(view):
            await self._arrive(view, early, stall_s, within_s)
        self._body_left -= len(view)

    async def _arrive(self, view: memoryview, filled: int, stall_s: float, within_s: float) -> None:
        if self.is_gone():
            raise Disconnected
        self._target, self._filled = view, filled
        arrived = self._arrived = self._loop.create_future()
        pace = Pace(lambda: self._filled, self._end_arrival, stall_s=stall_s, within_s=within_s)
        self._resume()
        try:
            await arrived
        finally:
            pace.stop()
            self._target = self._arrived = None
        if self._filled < len(view):
            raise Disconnected if self.is_gone() else TooSlow

    async def drain(self) -> None:
        """Return when the kernel has taken everything that was written, or the caller is gone."""
        while self._is_full and not self._is_lost:
            self._drained = self._loop.create_future()
            await self._drained
            self._drained = None

    def write(self, *parts: Bytes) -> None:
        """Send *parts*, which must stay as they are until they are drained."""
        if not self._is_lost:
            self._transport.writelines(parts)

    def direct(self) -> DirectSender | None:
        """Return what sends from any thread, or None while bytes before are still to be sent.

        It is good until the exchange ends; nothing else may be written meanwhile.
        """
        if self._is_lost or self._transport.is_closing():
            return None
        if self._transport.get_write_buffer_size():
            return None
        if self._direct is None:
            # A descriptor of its own: the transport closes the other one whenever the caller hangs
            # up, and its number may belong to another connection before the thread looks again.
            try:
                own = os.dup(self._transport.get_extra_info("socket").fileno())
            except OSError:
                return None  # There are no more to be had; the loop can send as well.
            self._direct = DirectSender(own)
        return self._direct

    def _close_direct(self) -> None:
        if self._direct is not None:
            self._direct.close()
            self._direct = None

    @property
    def is_last(self) -> bool:
        """Whether the connection ends with the present answer."""
        return not self._keeps_alive

    def make_last(self) -> None:
        """End the connection with the present answer."""
        self._keeps_alive = False

    def end_exchange(self) -> None:
        """Go on with the next request, or hang up."""
        self._server.total_requests += 1
        self._exchange = None
        if self._is_lost:
            self._close_direct()
            return
        if self._body_left > len(self._inbox):
            self._linger()
        elif self._body_left or not self._keeps_alive:
            self._transport.close()
        else:
            self._next()

    # Inside.

    def _end_arrival(self) -> None:
        self._target = None
        self._pause()
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _stop_taking(self) -> None:
        if self._taking is not None:
            self._taking.stop()
            self._taking = None

    def _cut_off_reader(self) -> None:
        _log.warning("a caller took its answer too slowly and was cut off")
        self.abort()

    def _next(self) -> None:
        """Read heads, and answer what can be answered now, until there is something to wait for."""
        answered = 0
        while self._exchange is None and not self._is_ending():
            if self._is_full:
                self._pause()  # The answers before are not taken; resume_writing goes on.
                return
            if answered == _ANSWERS_MAX:
                self._pause()
                self._loop.call_soon(self._next)
                return
            try:
                head = self._head()
            except Refusal as refusal:
                self._refuse(refusal)
                return
            if head is None:
                if self._has_ended:
                    self._transport.close()
                self._resume()
                return
            self._begin(head)
            answered += 1

    def _is_ending(self) -> bool:
        return self._lingered is not None or self._transport.is_closing()

    def _head(self) -> Head | None:
        has_come = bool(self._inbox)
        while self._reader.is_fresh and self._inbox.startswith(b"\r\n"):
            del self._inbox[:2]  # Left behind by an old client (RFC 9112, 2.2).
        if self._inbox and self._reader.is_fresh and (known := _KNOWN_HEADS.take(self._inbox)):
            return known
        if self._inbox and self._reader.take(self._inbox):
            reader, self._reader = self._reader, HeadReader(_KNOWN_HEADS)
            return reader.head
        # Blank lines are no beginning of a request, and must not keep the connection either.
        if has_come and not self._is_begun:
            self._is_begun = True
            self._set_deadline(self.header_timeout_s)
        elif self._deadline is None:
            self._set_deadline(self._keep_alive_s)
        return None

    def _begin(self, head: Head) -> None:
        self._deadline = None
        self._is_begun = False
        self._keeps_alive = head.keeps_alive and self._keeps_alive
        self._body_left = head.length
        if not head.length and self._keeps_alive:
            answer = self.answer_now(head)
            if answer is not None:
                self._server.total_requests += 1
                self.write(_DEFAULT_LINES.put_into(answer, self._server.default_headers))
                return
        self._exchange = Exchange(self, head, self._server.default_headers)
        if head.length > len(self._inbox):
            self._pause()  # The rest is received when it is wanted, where it is wanted.
        task = self._loop.create_task(self._exchange.run(self._app))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what is not a request, and hang up."""
        body = f"{refusal}\n".encode()
        head = _STATUS_LINES[refusal.status] + lines_of(
            [
                *self._server.default_headers,
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"x-elastic-error", refusal.word.encode()),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ]
        )
        self.write(head + body)
        self._linger()

    def _linger(self) -> None:
        """Hang up; where the caller is still sending, let it see the answer first."""
        self._lingered = 0
        self._deadline = None
        self._inbox.clear()
        self._resume()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._loop.call_later(_LINGER_S, self._transport.abort)

    def _pause(self) -> None:
        if not self._is_paused and not self._is_lost:
            self._transport.pause_reading()
            self._is_paused = True

    def _resume(self) -> None:
        if self._is_paused and not self._is_lost:
            self._transport.resume_reading()
            self._is_paused = False

    def _set_deadline(self, seconds: float) -> None:
        """Hang up in *seconds* unless a head is there by then.  The timer runs on: see _look."""
        self._deadline = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        # To set one timer and move the deadline costs less than to set a timer for each request.
        self._timer = None
        if self._deadline is None or self._is_lost:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._look)
        elif self._is_begun:
            self.abort()
        else:
            self._transport.close()


class Exchange:
    """One request and its answer, as ASGI has them."""

    def __init__(
        self, connection: Connection, head: Head, default_headers: list[tuple[bytes, bytes]]
    ) -> None:
        """Answer *head* on *connection*."""
        self._connection = connection
        self._head = head
        self._default_headers = default_headers
        self._must_continue = head.expects_continue
        self._is_taken = False
        self._is_ended = False
        self._start = b""
        self.gone = asyncio.Event()

    async def run(self, app: ASGIApp) -> None:
        """Have the application answer."""
        try:
            await app(_scope(self._head, self), self.receive, self.send)
        finally:
            if not self._is_ended:
                self._connection.abort()
            self._connection.end_exchange()

    @property
    def body_left(self) -> int:
        """How many bytes of the body have not been taken."""
        return self._connection.body_left

    def abort(self) -> None:
        """Hang up at once."""
        self._is_ended = True
        self._connection.abort()

    async def fill(self, view: memoryview, *, stall_s: float, within_s: float) -> None:
        """As `Connection.fill`, once the caller knows that its body is wanted."""
        self._is_taken = True
        self._continue()
        await self._connection.fill(view, stall_s=stall_s, within_s=within_s)

    def start_direct(self, start: Message) -> tuple[DirectSender, bytes] | None:
        """Begin an answer with the head of *start* that a thread will send; `end_direct` ends it.

        Returns what sends it and the head's bytes, or None where `send` has to be used.
        """
        direct = self._connection.direct()
        return None if direct is None else (direct, self._head_of(start))

    async def end_direct(self, rest: memoryview) -> None:
        """Send what the thread has left over of the answer; return when the kernel has it."""
        self._is_ended = True
        if rest:
            self._connection.write(rest)
            await self._connection.drain()

    async def receive(self) -> Message:
        """Return the next part of the body, or that the caller is gone."""
        left = self._connection.body_left
        if not left and self._is_taken:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        part = bytearray(min(left, _INBOX_MAX))
        try:
            forever = float("inf")
            await self.fill(memoryview(part), stall_s=86400.0, within_s=forever)
        except Disconnected:
            return {"type": "http.disconnect"}
        more = self._connection.body_left > 0
        return {"type": "http.request", "body": bytes(part), "more_body": more}

    async def send(self, message: Message) -> None:
        """Send the answer's head, or a part of its body; return when the kernel has taken it."""
        if message["type"] == "http.response.start":
            self._start = self._head_of(message)
            return
        body = message.get("body", b"")
        if self._head.method == "HEAD":
            body = b""
        parts = [part for part in (self._start, body) if part]
        self._start = b""
        self._connection.write(*parts)
        self._is_ended = not message.get("more_body", False)
        await self._connection.drain()

    def _head_of(self, message: Message) -> bytes:
        headers = [*self._default_headers, *message["headers"]]
        named = dict(headers)
        # Without a length the end of the connection is the end of the body.
        has_end = b"content-length" in named or message["status"] == HTTPStatus.NO_CONTENT
        if named.get(b"connection") == b"close" or not has_end:
            self._connection.make_last()
        if self._connection.is_last and b"connection" not in named:
            headers.append((b"connection", b"close"))
        return _STATUS_LINES[message["status"]] + lines_of(headers)

    def _continue(self) -> None:
        if self._must_continue:
            self._must_continue = False
            self._connection.write(_CONTINUE)


def _scope(head: Head, exchange: Exchange) -> Scope:
    path, _, query = head.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "method": head.method,
        "scheme": "http",
        "path": path.decode("ascii", "replace"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": head.headers,
        "extensions": {"drivebay.exchange": exchange},
    }


_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


def lines_of(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return *headers* as they stand on the wire, with the empty line behind them."""
    return b"".join(b"%b: %b\r\n" % header for header in headers) + b"\r\n"


class _DefaultLines:
    """The headers of every answer, as they stand on the wire: uvicorn makes a list each second."""

    def __init__(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._lines = b""

    def put_into(self, answer: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return *answer* with *headers* behind its status line."""
        if headers is not self._headers:
            self._headers, self._lines = headers, lines_of(headers)[:-2]
        end = answer.index(b"\r\n") + 2
        return b"".join((answer[:end], self._lines, answer[end:]))


_DEFAULT_LINES = _DefaultLines()
