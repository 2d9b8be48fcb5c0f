"""uvicorn's protocol with what a server of large bodies on an open port needs besides.

uvicorn has no deadline for a request's headers and no limit on their size, and it closes a
connection whose body was not read in a way that loses the answer.  The parser stays httptools
(llhttp); what it lets pass and the API does not is refused here.
"""

import asyncio
from typing import Any, NoReturn, cast

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from drivebay.http.errors import Refusal, refused
from drivebay.units import KIB, MIB

HEADERS_MAX_BYTES = 64 * KIB
TARGET_MAX_BYTES = 8 * KIB
HEADERS_MAX = 100

# After an answer that left a body unread: how much and how long to read on before hanging up, so
# that the caller gets to see the answer instead of a reset.
_LINGER_S = 2.0
_LINGER_MAX_BYTES = 64 * MIB


class DriveProtocol(HttpToolsProtocol):
    """One connection."""

    header_timeout_s = 15.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline for the first request's headers."""
        super().connection_made(_LingeringTransport(self, transport))  # type: ignore[arg-type]
        self.parser = cast("httptools.HttpRequestParser", _Parser(self))
        self._wire = transport
        self._refusal: Refusal | None = None
        self._in_headers = False
        self._header_bytes = 0
        self._lingered: int | None = None
        self._finished = True
        self._deadline: asyncio.TimerHandle | None = None
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._cancel_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in, and watch how many of them are headers."""
        if self._lingered is not None:
            self._lingered += len(data)
            if self._lingered > _LINGER_MAX_BYTES:
                self._wire.abort()
            return
        if self._finished and self._deadline is None:
            self._start_deadline()
        super().data_received(data)
        if self._in_headers:
            # Counted by what arrived, since the parser tells of a header only when it is whole.
            self._header_bytes += len(data)
            if self._header_bytes > HEADERS_MAX_BYTES and not self.transport.is_closing():
                self._refusal = refused(431, "the headers are too long")
                self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_headers = True
        self._finished = False
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Bound the target."""
        super().on_url(url)
        if len(self.url) > TARGET_MAX_BYTES:
            self._refuse(refused(414, "the path is too long"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Bound the number of headers."""
        super().on_header(name, value)
        if len(self.headers) > HEADERS_MAX:
            self._refuse(refused(431, f"there are more than {HEADERS_MAX} headers"))

    def on_headers_complete(self) -> None:
        """Refuse what the API does not take before anything is done with it."""
        self._cancel_deadline()
        self._in_headers = False
        refusal = _refusal_of(self.url, self.parser.get_http_version(), self.headers)
        if refusal is not None:
            self._refuse(refusal)
        self.scope["extensions"] = {"drivebay.connection": {"abort": self._wire.abort}}
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the request is here whole."""
        if self.parser.should_upgrade():
            return  # The body is still to come: see _Parser.
        self._finished = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that cannot be framed, and close; after the answer before it, if any."""
        del msg
        # uvicorn's annotation leaves out the None that it begins with.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
            self.flow.pause_reading()
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
        self._finished = False
        self.transport.write(b"".join(lines))
        self.transport.close()

    def close_or_linger(self) -> None:
        """Close; where the caller is still sending, let it see the answer first."""
        if self._wire.is_closing() or self._lingered is not None:
            return
        if self._finished:
            self._wire.close()
            return
        self._lingered = 0
        self._cancel_deadline()
        self._wire.resume_reading()
        if self._wire.can_write_eof():
            self._wire.write_eof()
        self.loop.call_later(_LINGER_S, self._wire.abort)

    def eof_received(self) -> None:
        """Nothing more will come."""
        if self._lingered is not None:
            self._wire.close()

    def _refuse(self, refusal: Refusal) -> NoReturn:
        # httptools turns it into a parser error, which uvicorn answers with send_400_response.
        self._refusal = refusal
        raise refusal

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(self.header_timeout_s, self._too_slow)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        self._wire.abort()


class _Parser:
    """httptools' parser, to which a request that asks for an upgrade is one like any other.

    A server may pass over `Upgrade` (RFC 9110, 7.8), and Java's client and curl ask for h2c of
    their own accord.  httptools leaves the body of such a request out and would take it for the
    next request, so a second parser, told the same length and no `Upgrade`, goes on from there.
    """

    def __init__(self, protocol: DriveProtocol) -> None:
        self._protocol = protocol
        self._inner = protocol.parser

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def feed_data(self, data: bytes) -> None:
        """Take bytes in."""
        rest = memoryview(data)
        while True:
            try:
                self._inner.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
                self._inner = httptools.HttpRequestParser(_BehindHeaders(self._protocol))
                self._inner.set_dangerous_leniencies(lenient_data_after_close=True)
                length = dict(self._protocol.headers).get(b"content-length", b"0")
                self._inner.feed_data(b"POST / HTTP/1.1\r\nContent-Length: %b\r\n\r\n" % length)
            else:
                return


class _BehindHeaders:
    """A protocol's callbacks; those of the first request's headers, which it has had, go nowhere."""

    def __init__(self, protocol: DriveProtocol) -> None:
        self._protocol = protocol
        self._is_first = True

    def on_message_begin(self) -> None:
        if not self._is_first:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._is_first:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_first:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self._is_first:
            self._protocol.on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._protocol.on_body(body)

    def on_message_complete(self) -> None:
        self._is_first = False
        self._protocol.on_message_complete()


class _LingeringTransport:
    """The transport, except that closing is the protocol's to do."""

    def __init__(self, protocol: DriveProtocol, transport: asyncio.Transport) -> None:
        self._protocol = protocol
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        """Close, in time."""
        self._protocol.close_or_linger()


def _refusal_of(target: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> Refusal | None:
    named: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        named.setdefault(name, []).append(value)
    if b"transfer-encoding" in named:
        return refused(411, "Transfer-Encoding is not supported; send a Content-Length")
    if not target.startswith(b"/"):
        return refused(400, "the target must be a path")
    hosts = len(named.get(b"host", []))
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        return refused(400, "there must be one Host header")
    lengths = named.get(b"content-length", [])
    if len(lengths) > 1 or not all(value.isdigit() and len(value) < 20 for value in lengths):
        return refused(400, "there must be one Content-Length, in digits")
    if any(value.lower() != b"100-continue" for value in named.get(b"expect", [])):
        return refused(417, "only Expect: 100-continue is known")
    return None
