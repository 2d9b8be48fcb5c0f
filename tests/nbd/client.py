"""An NBD client that sends what it is told, right or wrong, and takes replies as they come.

It follows doc/proto.md of NetworkBlockDevice/nbd, and shares nothing with the server.
"""

import select
import socket
import ssl
import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

EXPORT_NAME, ABORT, LIST, STARTTLS, INFO, GO, STRUCTURED, LIST_CONTEXTS, SET_CONTEXTS = (
    *(1, 2, 3, 5, 6, 7, 8, 9, 10),
)
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
FUA, NO_HOLE, DF, ONE, FAST = (1 << bit for bit in range(5))
ACK = 1

_OPTION = struct.Struct(">8sII")
_OPTION_REPLY = struct.Struct(">QIII")
_REQUEST = struct.Struct(">IHHQQI")
_SIMPLE = struct.Struct(">IQ")
_CHUNK = struct.Struct(">HHQI")


_opened: list["Connection"] = []


def hang_up() -> None:
    """Close every connection that was opened."""
    while _opened:
        _opened.pop().close()


class Closed(Exception):
    """The server has closed the connection."""


@dataclass(frozen=True)
class Request:
    command: int
    offset: int = 0
    length: int = 0
    flags: int = 0
    data: bytes = b""

    def packed(self, cookie: int) -> bytes:
        head = (0x25609513, self.flags, self.command, cookie, self.offset, self.length)
        return _REQUEST.pack(*head) + self.data


@dataclass
class Reply:
    """All of one reply; *extents* are the lengths and states that a BLOCK_STATUS told."""

    error: int = 0
    message: str = ""
    data: bytearray = field(default_factory=bytearray)
    extents: list[tuple[int, int]] = field(default_factory=list)
    missing: int = 0


def option(number: int, data: bytes = b"", *, length: int | None = None) -> bytes:
    """Return an option; *length* is told in place of the true one."""
    return _OPTION.pack(b"IHAVEOPT", number, len(data) if length is None else length) + data


def text(name: str) -> bytes:
    """Return a string as options carry it."""
    data = name.encode()
    return struct.pack(">I", len(data)) + data


def named(name: str, *numbers: int) -> bytes:
    """Return the data of INFO or GO."""
    return text(name) + struct.pack(f">H{len(numbers)}H", len(numbers), *numbers)


def contexts(name: str, *queries: str) -> bytes:
    """Return the data of SET_META_CONTEXT or LIST_META_CONTEXT."""
    return text(name) + struct.pack(">I", len(queries)) + b"".join(map(text, queries))


class Connection:
    """A connection in its handshake, from the greeting on."""

    def __init__(self, uri: str, *, timeout_s: float = 60.0) -> None:
        """Connect to where *uri* leads, and read the greeting."""
        parts = urlsplit(uri)
        self.ticket = unquote(parts.path[1:])
        is_unix = parts.scheme == "nbd+unix"
        self.socket = socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET)
        _opened.append(self)
        address = (parts.hostname, parts.port)
        # Without a time limit, which would make a full backlog an error at once.
        self.socket.connect(parse_qs(parts.query)["socket"][0] if is_unix else address)
        self.socket.settimeout(timeout_s)
        self._received = bytearray()

    def greet(self, flags: int = 3) -> Self:
        """Take the greeting and answer it."""
        assert self.take(16) == b"NBDMAGICIHAVEOPT"
        assert self.take(2) == b"\0\3"
        self.send(struct.pack(">I", flags))
        return self

    def start_tls(self, context: ssl.SSLContext) -> Self:
        """Ask for TLS, which must be granted, and begin it."""
        assert self.ask(STARTTLS) == [(ACK, b"")]
        assert not self._received
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        return self

    def ask(self, number: int, data: bytes = b"") -> list[tuple[int, bytes]]:
        """Send an option, and return the replies to it."""
        self.send(option(number, data))
        return self.option_replies(number)

    def option_replies(self, number: int) -> list[tuple[int, bytes]]:
        """Return the replies to an option up to the one that ends them."""
        replies = []
        while True:
            magic, about, kind, length = _OPTION_REPLY.unpack(self.take(_OPTION_REPLY.size))
            assert (magic, about) == (0x3E889045565A9, number)
            replies.append((kind, bytes(self.take(length))))
            if kind == ACK or kind >> 31:
                return replies

    def send(self, *parts: bytes) -> None:
        for part in parts:
            try:
                self.socket.sendall(part)
            except (BrokenPipeError, ConnectionResetError) as error:
                raise Closed from error

    def pump(self, data: bytes) -> None:
        """Send while taking in what comes, as a client does that has both in flight."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN | select.POLLOUT)
        left = memoryview(data)
        while left:
            ((_, events),) = poll.poll(60_000)
            if events & select.POLLIN:
                self._receive()
            if events & select.POLLOUT:
                try:
                    left = left[self.socket.send(left, socket.MSG_DONTWAIT) :]
                except BlockingIOError:
                    continue  # There is some room, but not for this.
                except (BrokenPipeError, ConnectionResetError) as error:
                    raise Closed from error

    def take(self, count: int) -> bytes:
        """Return the next *count* bytes."""
        while len(self._received) < count:
            self._receive()
        data = bytes(self._received[:count])
        del self._received[:count]
        return data

    def _receive(self) -> None:
        try:
            part = self.socket.recv(1 << 20)
        except ConnectionResetError as error:
            raise Closed from error
        if not part:
            raise Closed
        self._received += part

    def left(self) -> bytes:
        """Return what has come and was not taken."""
        return bytes(self._received)

    def is_closed(self) -> bool:
        """Wait for the end of the connection, past whatever comes before."""
        try:
            while self.socket.recv(1 << 20):
                pass
        except ConnectionResetError:
            pass
        return True

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Client(Connection):
    """A connection in its transmission phase."""

    size = 0
    flags = 0
    structured = False

    def open(self, *, structured: bool = True, allocation: bool = False) -> Self:
        """Shake hands, up to the first request."""
        self.greet()
        self.structured = structured
        self._cookie = 0
        self._pending: dict[int, Request] = {}
        self._partial: dict[int, Reply] = {}
        self._ready: deque[tuple[int, Reply]] = deque()
        if structured:
            assert self.ask(STRUCTURED) == [(ACK, b"")]
        if allocation:
            data = contexts(self.ticket, "base:allocation")
            assert [kind for kind, _ in self.ask(SET_CONTEXTS, data)] == [4, ACK]
        replies = self.ask(GO, named(self.ticket))
        assert replies[-1] == (ACK, b""), replies
        for kind, data in replies[:-1]:
            if kind == 3 and data[:2] == b"\0\0":
                self.size, self.flags = struct.unpack(">QH", data[2:])
        assert self.flags & 1
        return self

    def queue(self, *requests: Request) -> tuple[bytes, list[int]]:
        """Return the bytes of requests that are about to be sent, and their cookies."""
        sent, cookies = [], []
        for request in requests:
            self._cookie += 1
            self._pending[self._cookie] = request
            cookies.append(self._cookie)
            sent.append(request.packed(self._cookie))
        return b"".join(sent), cookies

    def submit(self, *requests: Request) -> list[int]:
        """Send requests, and return their cookies."""
        data, cookies = self.queue(*requests)
        if isinstance(self.socket, ssl.SSLSocket):
            self.send(data)
        else:
            self.pump(data)
        return cookies

    def do(self, *requests: Request) -> list[Reply]:
        """Send requests and return the replies, in the order of the requests."""
        return self.replies(self.submit(*requests))

    def replies(self, cookies: Iterable[int]) -> list[Reply]:
        """Wait for the replies to all of *cookies*, in whatever order they come."""
        wanted = list(cookies)
        found = dict(self.reply() for _ in wanted)
        assert found.keys() == set(wanted)
        return [found[cookie] for cookie in wanted]

    def reply(self) -> tuple[int, Reply]:
        """Return the next reply that is whole, and its cookie."""
        while True:
            (magic,) = struct.unpack(">I", self.take(4))
            if magic == 0x67446698:
                return self._simple()
            assert magic == 0x668E33EF, f"no reply: {magic:x}"
            if (whole := self._chunk()) is not None:
                return whole

    def _simple(self) -> tuple[int, Reply]:
        error, cookie = _SIMPLE.unpack(self.take(_SIMPLE.size))
        request = self._pending.pop(cookie)
        assert not self.structured or request.command != READ
        assert error != 0 or request.command != STATUS
        is_read = request.command == READ and not error
        return cookie, Reply(error, data=bytearray(self.take(request.length if is_read else 0)))

    def _chunk(self) -> tuple[int, Reply] | None:
        assert self.structured
        flags, kind, cookie, length = _CHUNK.unpack(self.take(_CHUNK.size))
        request = self._pending[cookie]
        reply = self._partial.setdefault(cookie, Reply(missing=request.length))
        payload = self.take(length)
        self._take_chunk(request, reply, kind, payload)
        if not flags & 1:
            return None
        assert kind == 0 or request.command in {READ, STATUS} or kind >> 15
        if request.command == READ and not reply.error:
            assert reply.missing == 0, "a read was answered in part"
        del self._pending[cookie], self._partial[cookie]
        return cookie, reply

    def _take_chunk(self, request: Request, reply: Reply, kind: int, payload: bytes) -> None:
        if kind >> 15:
            reply.error, length = struct.unpack_from(">IH", payload)
            reply.message = payload[6 : 6 + length].decode()
            return
        match kind:
            case 0:
                assert not payload
            case 1:
                (offset,) = struct.unpack_from(">Q", payload)
                self._fill(request, reply, offset, payload[8:])
            case 2:
                offset, length = struct.unpack(">QI", payload)
                self._fill(request, reply, offset, bytes(length))
            case 5:
                numbers = struct.unpack(f">I{(len(payload) - 4) // 4}I", payload)
                assert numbers[0] == 1
                reply.extents = list(zip(numbers[1::2], numbers[2::2], strict=True))
            case _:
                raise AssertionError(f"a chunk of kind {kind}")

    def _fill(self, request: Request, reply: Reply, offset: int, data: bytes) -> None:
        assert request.command == READ
        at = offset - request.offset
        assert 0 <= at <= request.length - len(data)
        assert data
        reply.data = reply.data or bytearray(request.length)
        reply.data[at : at + len(data)] = data
        reply.missing -= len(data)


def read(offset: int, length: int, flags: int = 0) -> Request:
    return Request(READ, offset, length, flags)


def write(offset: int, data: bytes, flags: int = 0) -> Request:
    return Request(WRITE, offset, len(data), flags, data)


def zeroes(offset: int, length: int, flags: int = 0) -> Request:
    return Request(ZEROES, offset, length, flags)


def trim(offset: int, length: int, flags: int = 0) -> Request:
    return Request(TRIM, offset, length, flags)


def status(offset: int, length: int, flags: int = 0) -> Request:
    return Request(STATUS, offset, length, flags)


FLUSHING = Request(FLUSH)
