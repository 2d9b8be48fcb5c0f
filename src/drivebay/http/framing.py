"""What of HTTP's framing the API takes: the limits of a request's head, and the parser.

The parser is httptools (llhttp); what it lets pass and the API does not is refused here.
"""

from typing import Any, Protocol

import httptools

from drivebay.http.errors import Refusal, refused
from drivebay.units import KIB

HEADERS_MAX_BYTES = 64 * KIB
TARGET_MAX_BYTES = 8 * KIB
HEADERS_MAX = 100


def refusal_of(target: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> Refusal | None:
    """Return why a request with this head is refused before anything is done with it, if it is."""
    named: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        named.setdefault(name, []).append(value)
    hosts = len(named.get(b"host", []))
    lengths = named.get(b"content-length", [])
    # HTTP/1.0 has no expectations: one in such a request does not count (RFC 9110, 10.1.1).
    expected = named.get(b"expect", []) if version == "1.1" else []
    faults = (
        (version not in {"1.0", "1.1"}, 400, "only HTTP/1.1 and HTTP/1.0 are spoken here"),
        (
            b"transfer-encoding" in named,
            411,
            "Transfer-Encoding is not supported; send a Content-Length",
        ),
        (not target.startswith(b"/") or b"#" in target, 400, "the target must be a path"),
        (hosts > 1 or (hosts == 0 and version == "1.1"), 400, "there must be one Host header"),
        (len(lengths) > 1, 400, "there must be one Content-Length"),
        (not all(map(_is_length, lengths)), 400, "Content-Length must be digits"),
        (not all(map(_is_known, expected)), 417, "only Expect: 100-continue is known"),
    )
    return next((refused(status, sentence) for is_so, status, sentence in faults if is_so), None)


def _is_length(value: bytes) -> bool:
    return value.isdigit() and len(value) < 20


def _is_known(expectation: bytes) -> bool:
    return expectation.lower() == b"100-continue"


class Callbacks(Protocol):
    """What the parser tells of."""

    headers: list[tuple[bytes, bytes]]

    def on_message_begin(self) -> None:
        """A request begins."""

    def on_url(self, url: bytes) -> None:
        """The next part of the target."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, whole."""

    def on_headers_complete(self) -> None:
        """The head is whole."""

    def on_body(self, body: bytes) -> None:
        """The next part of the body."""

    def on_message_complete(self) -> None:
        """The request is whole, unless it asks for an upgrade and its body is still to come."""


class Parser:
    """httptools' parser, to which a request that asks for an upgrade is one like any other.

    A server may pass over `Upgrade` (RFC 9110, 7.8), and Java's client and curl ask for h2c of
    their own accord.  httptools leaves the body of such a request out and would take it for the
    next request, so a second parser, told the same length and no `Upgrade`, goes on from there.
    """

    def __init__(self, protocol: Callbacks, inner: httptools.HttpRequestParser) -> None:
        """Tell *protocol*, beginning with the parser that it has."""
        self._protocol = protocol
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        """Be the parser in every other way."""
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

    def __init__(self, protocol: Callbacks) -> None:
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
