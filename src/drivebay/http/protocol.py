"""uvicorn's protocol with what a server of large bodies on an open port needs besides.

uvicorn has no deadline for a request's headers and no limit on their size, none for a caller that
does not take its answer, takes in any number of requests at once, and closes a connection whose
body was not read in a way that loses the answer.
"""

import asyncio
import logging
from typing import Any, NoReturn, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from drivebay.http.errors import Refusal, refused
from drivebay.http.framing import (
    HEADERS_MAX,
    HEADERS_MAX_BYTES,
    TARGET_MAX_BYTES,
    Parser,
    refusal_of,
)
from drivebay.http.untaken import Untaken
from drivebay.units import MIB

_log = logging.getLogger("drivebay.http")

PIPELINE_MAX = 64
"""How many whole requests may wait on a connection; more end it once those are answered."""

# After an answer that left a body unread: how much and how long to read on before hanging up, so
# that the caller gets to see the answer instead of a reset.
_LINGER_S = 2.0
_LINGER_MAX_BYTES = 64 * MIB


class DriveProtocol(HttpToolsProtocol):
    """One connection."""

    header_timeout_s = 15.0
    stall_timeout_s = 30.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline for the first request's headers."""
        super().connection_made(_LingeringTransport(self, transport))  # type: ignore[arg-type]
        self.parser = cast("httptools.HttpRequestParser", Parser(self, self.parser))
        self.flow = _Flow(self, transport)
        self._wire = transport
        self._untaken = Untaken(transport, self.loop, self.stall_timeout_s, self._cut_off_reader)
        self._running: RequestResponseCycle | None = None
        self._refusal: Refusal | None = None
        self._in_headers = False
        self._begun = 0
        self._header_bytes = 0
        self._header_bytes_arrived = 0
        self._lingered: int | None = None
        self._finished = True
        self._deadline: asyncio.TimerHandle | None = None
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines, and tell the request that is being answered."""
        self._cancel_deadline()
        self._untaken.stop()
        # uvicorn tells the newest request, which may be one that waits behind it.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in, and watch how many of them are headers, and for how long."""
        if self._lingered is not None:
            self._lingered += len(data)
            if self._lingered > _LINGER_MAX_BYTES:
                self._wire.abort()
            return
        begun = self._begun
        # The parser tells of a header only when it is whole.
        self._header_bytes_arrived += len(data)
        super().data_received(data)
        if self._in_headers and self._header_bytes_arrived > HEADERS_MAX_BYTES:
            self._refusal = _headers_too_long()
            self.send_400_response("")
        # Blank lines before a request are no beginning, and must not keep the connection either.
        if self._in_headers or (self._finished and self._begun == begun):
            self._start_deadline()

    def on_message_begin(self) -> None:
        """Begin a request, unless there is to be no further one."""
        cycle = self._newest
        if len(self.pipeline) >= PIPELINE_MAX or (cycle is not None and not cycle.keep_alive):
            self._refuse(refused(400, "this connection takes no further requests"))
        super().on_message_begin()
        self._in_headers = True
        self._finished = False
        self._begun += 1
        self._header_bytes = self._header_bytes_arrived = 0

    def on_url(self, url: bytes) -> None:
        """Bound the target."""
        super().on_url(url)
        if len(self.url) > TARGET_MAX_BYTES:
            self._refuse(refused(414, "the path is too long"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Bound the headers."""
        super().on_header(name, value)
        if len(self.headers) > HEADERS_MAX:
            self._refuse(refused(431, f"there are more than {HEADERS_MAX} headers"))
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEADERS_MAX_BYTES:
            self._refuse(_headers_too_long())

    def on_headers_complete(self) -> None:
        """Refuse what the API does not take before anything is done with it."""
        self._cancel_deadline()
        self._in_headers = False
        version = self.parser.get_http_version()
        refusal = refusal_of(self.url, version, self.headers)
        if refusal is not None:
            self._refuse(refusal)
        self.expect_100_continue = self.expect_100_continue and version == "1.1"
        self.scope["extensions"] = {"drivebay.connection": {"abort": self._wire.abort}}
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the request is here whole."""
        if self.parser.should_upgrade():
            return  # The body is still to come: see Parser.
        self._finished = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that cannot be framed, and close; after the answer before it, if any."""
        del msg
        self._finished = self._in_headers = False
        self._cancel_deadline()
        cycle = self._newest
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
            self.flow.pause_reading()
            return
        if self.is_ending:
            return
        refusal = self._refusal or refused(400, "the request is not well-formed HTTP")
        body = f"{refusal}\n".encode()
        lines = [
            STATUS_LINE[refusal.status],
            b"content-type: text/plain; charset=utf-8\r\n",
            b"x-elastic-error: " + refusal.word.encode() + b"\r\n",
            b"content-length: " + str(len(body)).encode() + b"\r\n",
            b"connection: close\r\n\r\n",
            body,
        ]
        self.transport.write(b"".join(lines))
        self.transport.close()

    def pause_writing(self) -> None:
        """Watch whether the caller takes what is waiting for it."""
        super().pause_writing()
        self._untaken.start()

    def resume_writing(self) -> None:
        """It did."""
        self._untaken.stop()
        super().resume_writing()

    @property
    def is_ending(self) -> bool:
        """Whether nothing more is to be answered."""
        return self._lingered is not None or self._wire.is_closing()

    def close_or_linger(self) -> None:
        """Close; where the caller is still sending, let it see the answer first."""
        if self.is_ending:
            return
        if self._finished:
            self._wire.close()
            self._untaken.start()
            return
        self._lingered = 0
        self._cancel_deadline()
        self._wire.resume_reading()
        if self._wire.can_write_eof():
            self._wire.write_eof()
        self.loop.call_later(_LINGER_S, self._wire.abort)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Nothing more will come; what was asked in whole before is still answered."""
        cycle = self._newest
        if not self._finished or self.is_ending or cycle is None or cycle.response_complete:
            return False
        cycle.keep_alive = False
        return True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    @property
    def _newest(self) -> RequestResponseCycle | None:
        # uvicorn's annotation leaves out the None that it begins with.
        return cast("RequestResponseCycle | None", self.cycle)

    def _refuse(self, refusal: Refusal) -> NoReturn:
        # httptools turns it into a parser error, which uvicorn answers with send_400_response.
        self._refusal = refusal
        raise refusal

    def _start_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.header_timeout_s, self._too_slow)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._running is not None and not self._running.response_complete:
            self._start_deadline()  # What was asked before is still being answered.
        else:
            self._wire.abort()

    def _cut_off_reader(self) -> None:
        _log.warning("%s took its answer too slowly and was cut off", self.client)
        self._wire.abort()


def _headers_too_long() -> Refusal:
    return refused(431, f"the headers are longer than {HEADERS_MAX_BYTES} bytes")


class _Flow(FlowControl):
    """Takes nothing in while a whole request waits for its turn.

    uvicorn reads on whenever a request is answered or its body asked for, so that whoever sends
    many without a pause would fill the memory with them.
    """

    def __init__(self, protocol: DriveProtocol, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._protocol = protocol

    def resume_reading(self) -> None:
        if not self._protocol.pipeline:
            super().resume_reading()


class _LingeringTransport:
    """The transport, except that closing is the protocol's to do."""

    def __init__(self, protocol: DriveProtocol, transport: asyncio.Transport) -> None:
        self._protocol = protocol
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing more is to be answered."""
        return self._protocol.is_ending

    def close(self) -> None:
        """Close, in time."""
        self._protocol.close_or_linger()
