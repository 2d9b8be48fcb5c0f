"""The head of a request: bytes in, one `Head` or one `Refusal` out.  No sockets.

The parser is httptools (llhttp).  It is given heads alone and never a body, so a request's length
is what its one Content-Length says, and neither `Upgrade` nor a pipelined request changes how the
bytes behind the head are read.  What llhttp lets pass and the API does not is refused here.
"""

import re
from dataclasses import dataclass

import httptools

from drivebay.http.errors import Refusal, refused
from drivebay.units import KIB

HEADERS_MAX_BYTES = 64 * KIB
TARGET_MAX_BYTES = 8 * KIB
HEADERS_MAX = 100

# A Content-Length of 20 digits is past any drive's end.
_LENGTH_DIGITS_MAX = 19

_END = b"\r\n\r\n"


@dataclass(slots=True)
class Head:
    """What stands in front of a request's body; names of headers are in lower case."""

    method: str
    target: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    keeps_alive: bool
    length: int
    expects_continue: bool

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]

    def for_target(self, target: bytes) -> "Head":
        """Return the head that differs in the target alone."""
        return Head(
            self.method,
            target,
            self.version,
            self.headers,
            self.keeps_alive,
            self.length,
            self.expects_continue,
        )

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of every header of that name."""
        return [value for found, value in self.headers if found == name]


# A client sends the same headers with each request.  So many blocks of them are remembered, none of
# them longer than this.
_BLOCKS_MAX = 256
_BLOCK_MAX_BYTES = 1 * KIB

# The line in front of them, in the one form that makes no difference to what they mean.
_LINE = re.compile(rb"(GET|POST) (/[!-\"$-~]*) HTTP/1\.1\r\n")


class KnownHeads:
    """Reads heads whose headers are, byte for byte, those of one that the parser has read before.

    A small request spends a third of its time in the parser otherwise.
    """

    def __init__(self) -> None:
        """Know none."""
        self._heads: dict[tuple[bytes, bytes], Head] = {}

    def take(self, inbox: bytearray) -> Head | None:
        """Cut the head off *inbox* if it is all there and its headers are known."""
        line = _LINE.match(inbox, 0, TARGET_MAX_BYTES)
        end = inbox.find(_END, line.end() - 2) if line else -1
        if line is None or end < 0:
            return None
        stop = end + len(_END)
        method, target = line.groups()
        known = self._heads.get((method, bytes(inbox[line.end() : stop])))
        if known is None:
            return None
        del inbox[:stop]
        return known.for_target(target)

    def learn(self, head: Head, taken: bytes) -> None:
        """Remember the headers of *head*, which the parser has read from *taken*."""
        line = _LINE.match(taken)
        if line is None or len(taken) - line.end() > _BLOCK_MAX_BYTES:
            return
        if len(self._heads) >= _BLOCKS_MAX:
            self._heads.clear()
        self._heads[line[1], taken[line.end() :]] = head


class HeadReader:
    """Reads one head; make another for the next."""

    def __init__(self, known: KnownHeads) -> None:
        """Start before the first byte; what is read becomes *known*."""
        self._known = known
        self._parser = httptools.HttpRequestParser(self)
        self._fed = 0
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_bytes = 0
        self._is_complete = False
        self._keeps_alive = False
        self._refusal: Refusal | None = None
        self.head: Head | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether it has seen nothing yet."""
        return self._fed == 0

    def take(self, inbox: bytearray) -> bool:
        """Read what is new in *inbox*; once the head is there, cut it off and return True.

        Raises:
            Refusal: it is not the head of a request that the API could take.
        """
        end = inbox.find(_END, max(0, self._fed - len(_END) + 1))
        stop = len(inbox) if end < 0 else end + len(_END)
        try:
            self._parser.feed_data(inbox[self._fed : stop])
        except httptools.HttpParserUpgrade:
            pass  # A server may pass over it (RFC 9110, 7.8).
        except httptools.HttpParserError as error:
            raise self._refusal or refused(400, "the request is not well-formed HTTP") from error
        self._fed = stop
        if end < 0:
            self._require_room()
            return False
        if not self._is_complete:
            raise refused(400, "the request is not well-formed HTTP")
        head = self.head = self._checked()
        self._known.learn(head, bytes(inbox[:stop]))
        del inbox[:stop]
        return True

    def _require_room(self) -> None:
        if self._is_complete:
            raise refused(400, "the lines of a request end with CR and LF")
        if self._fed > TARGET_MAX_BYTES + HEADERS_MAX_BYTES:
            raise _headers_too_long()

    def on_url(self, url: bytes) -> None:
        """Take the target, or a part of it."""
        self._target += url
        if len(self._target) > TARGET_MAX_BYTES:
            self._refusal = refused(414, "the path is too long")
            raise self._refusal

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        self._headers.append((name.lower(), value))
        if len(self._headers) > HEADERS_MAX:
            self._refusal = refused(431, f"there are more than {HEADERS_MAX} headers")
            raise self._refusal
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEADERS_MAX_BYTES:
            self._refusal = _headers_too_long()
            raise self._refusal

    def on_headers_complete(self) -> None:
        """Note that the parser takes the head for whole."""
        self._is_complete = True
        self._keeps_alive = self._parser.should_keep_alive()

    def _checked(self) -> Head:
        version = self._parser.get_http_version()
        named: dict[bytes, list[bytes]] = {}
        for name, value in self._headers:
            named.setdefault(name, []).append(value)
        # HTTP/1.0 has no expectations: one in such a request does not count (RFC 9110, 10.1.1).
        expected = named.get(b"expect", []) if version == "1.1" else []
        _require_known(self._target, version, named, expected)
        return Head(
            method=self._parser.get_method().decode("ascii"),
            target=self._target,
            version=version,
            headers=self._headers,
            keeps_alive=version != "1.0" and self._keeps_alive,
            length=_length(named.get(b"content-length", [])),
            expects_continue=bool(expected),
        )


def _headers_too_long() -> Refusal:
    return refused(431, f"the headers are longer than {HEADERS_MAX_BYTES} bytes")


def _require_known(
    target: bytes, version: str, named: dict[bytes, list[bytes]], expected: list[bytes]
) -> None:
    hosts = len(named.get(b"host", ()))
    if version not in {"1.0", "1.1"}:
        raise refused(400, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if b"transfer-encoding" in named:
        raise refused(411, "Transfer-Encoding is not supported; send a Content-Length")
    if not target.startswith(b"/") or b"#" in target:
        raise refused(400, "the target must be a path")
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise refused(400, "there must be one Host header")
    if any(value.lower() != b"100-continue" for value in expected):
        raise refused(417, "only Expect: 100-continue is known")


def _length(values: list[bytes]) -> int:
    if not values:
        return 0
    if len(values) > 1:
        raise refused(400, "there must be one Content-Length")
    if not values[0].isdigit() or len(values[0]) > _LENGTH_DIGITS_MAX:
        raise refused(400, "Content-Length must be digits")
    return int(values[0])
