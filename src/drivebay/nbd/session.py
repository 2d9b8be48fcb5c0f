"""One connection in its transmission phase: requests in, a claimed drive's bytes out.

Small requests that have arrived together are carried out together: one lock, one look at the
catalog, one addition to the counters and one send for all of them, in the thread that received
them.  What waits for a disk (a read that is not in the page cache, a flush, a range to zero) is
carried out aside meanwhile, and answered out of order, as the protocol allows.
"""

import logging
import mmap
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from threading import RLock
from typing import NamedTuple

from drivebay.errors import (
    ClaimEnded,
    DrivebayError,
    OutOfSpace,
)
from drivebay.nbd.aside import Aside, Disks, Parts
from drivebay.nbd.protocol import (
    FLAG_FUA,
    FLAG_NO_HOLE,
    FLAG_REQ_ONE,
    REQUEST,
    WHOLE_MAX_BYTES,
    Command,
    Errno,
    Transmission,
    is_fatal,
)
from drivebay.nbd.waiting import Waiting
from drivebay.service.exports import Batches, Export
from drivebay.storage.pieces import Piece
from drivebay.storage.volume import Decode, decoded
from drivebay.units import KIB

_log = logging.getLogger("drivebay.nbd")

PIECE = WHOLE_MAX_BYTES
"""What is read or written at a time of a request that is longer; each piece is one atomic step."""

SMALL_MAX = 64 * KIB
"""The longest request that is carried out together with others."""

_RECEIVE = 256 * KIB
_SEND = 256 * KIB + 64 * 1024

# Decrypted and sent at a time, so that the cipher's output is still in the core's cache.
_DECODE = 256 * KIB

# Plain numbers and names: an enumeration's members and attributes cost a look-up each time.  READ is
# 0 and WRITE is 1.
_READ, _WRITE = int(Command.READ), int(Command.WRITE)
_HEAD = REQUEST.size
_unpack = REQUEST.unpack_from

# Received at a time where large writes are expected: a header, and little of what follows.
_LITTLE = 512

# More than the header of a small read's reply takes.
_OVERHEAD = 64


class _Run(NamedTuple):
    """Small reads, or small writes, that are carried out together.

    *pieces* say where in the buffer the data of each is, or goes; *length* is that of all replies.
    """

    command: int
    cookies: list[int]
    pieces: list[Piece]
    length: int


class Request(NamedTuple):
    """A request as it was sent."""

    flags: int
    command: int
    cookie: int
    offset: int
    length: int


class Lost(Exception):
    """The client cannot be understood, or does not go on with what it began."""


class Session:
    """A connection that uses a claimed drive."""

    def __init__(
        self,
        connection: socket.socket,
        export: Export,
        transmission: Transmission,
        disks: Disks,
        *,
        end: Callable[[], None],
    ) -> None:
        """Serve *export* on *connection*, whose timeouts are set; *disks* wait for disks.

        *end* closes the connection, from any thread.
        """
        self._socket = connection
        self._export = export
        self._protocol = transmission
        self._aside: Aside | None = None
        # One TLS connection is not for use by two threads at once.
        if not isinstance(connection, ssl.SSLSocket):
            self._aside = Aside(disks, export, send=self._send_parts, end=end)
        self._sending = RLock()
        self._waiting = Waiting(connection)
        self._in = _buffer(_RECEIVE)
        self._at = self._end = 0
        # Of what was carried out last: how many requests, and whether it was one with much data.
        self._were_together = 0
        self._was_large = False
        self._out = _buffer(_SEND)
        self._reads = Batches(export, self._out, longest=SMALL_MAX)
        self._writes = Batches(export, self._in, longest=SMALL_MAX)
        self._piece: memoryview | None = None

    def run(self, rest: bytes) -> str:
        """Serve until the connection ends, and say why it does; *rest* came before."""
        assert len(rest) <= len(self._in), "more than a handshake keeps"
        self._in[: len(rest)] = rest
        self._end = len(rest)
        try:
            while True:
                if not self._round():
                    return "disconnected"
        except ClaimEnded as ended:
            return str(ended)
        except (Lost, OSError) as error:
            return f"connection lost: {error}"
        finally:
            if self._aside is not None:
                self._aside.settle()

    def _round(self) -> bool:
        """Carry out what has arrived whole, or receive more; False when the client is done."""
        if self._end - self._at < _HEAD:
            return self._receive()
        run = self._gather()
        self._were_together = len(run.cookies) or 1
        if run.cookies:
            self._was_large = False
            (self._write_run if run.command else self._read_run)(run)
            return True
        _, flags, command, cookie, offset, length = _unpack(self._in, self._at)
        if command == _WRITE and length <= SMALL_MAX and self._end - self._at < _HEAD + length:
            return self._receive()
        self._at += _HEAD
        self._was_large = command == _WRITE and length > SMALL_MAX
        return self._single(Request(flags, command, cookie, offset, length))

    def _gather(self) -> _Run:
        """Take small reads, or small writes, that have arrived whole off the buffer.

        The headers of reads' replies are put where their data will follow.
        """
        view, at, end, out = self._in, self._at, self._end, self._out
        refusal, header = self._protocol.refusal, self._protocol.data_header
        cookies: list[int] = []
        pieces: list[Piece] = []
        kind, size = _WRITE, 0
        while end - at >= _HEAD:
            magic, flags, command, cookie, offset, length = _unpack(view, at)
            if is_fatal(magic, command, length):
                if cookies:
                    break  # What came before it is answered first.
                raise Lost("what was sent is no request")
            behind = at + _HEAD + (length if command else 0)
            if (
                flags
                or command > _WRITE
                or length > SMALL_MAX
                or behind > end
                or size + length + _OVERHEAD > _SEND
                or (cookies and command != kind)
                or refusal(flags, command, offset, length) is not None
            ):
                break
            kind = command
            cookies.append(cookie)
            if command:
                pieces.append((offset, length, at + _HEAD))
            else:
                head = header(cookie, offset, length)
                start = size + len(head)
                out[size:start] = head
                pieces.append((offset, length, start))
                size = start + length
            at = behind
        self._at = at
        return _Run(kind, cookies, pieces, size)

    def _receive(self) -> bool:
        """Receive what comes next behind what is there."""
        start, end = self._at, self._end
        if start == end:
            self._at = self._end = start = end = 0
        elif len(self._in) - start < REQUEST.size + SMALL_MAX:
            self._in[: end - start] = bytes(self._in[start:end])
            self._at, self._end = 0, end - start
            start, end = 0, end - start
        self._waiting.begin(is_alone=self._were_together == 1)
        # A large request's data is not to come here, from where it would have to be copied.
        limit = end + _LITTLE if self._was_large else len(self._in)
        count = self._recv_into(self._in[end:limit], is_idle=start == end)
        self._waiting.end()
        self._end = end + count
        return count > 0

    def _recv_into(self, buffer: memoryview, *, is_idle: bool) -> int:
        while True:
            try:
                return self._socket.recv_into(buffer)
            except (BlockingIOError, TimeoutError):
                # The time is over in which something was to come.
                if not is_idle:
                    raise Lost("a request was begun and not finished") from None

    def _read_run(self, run: _Run) -> None:
        try:
            missing = self._reads.read(run.pieces)
        except DrivebayError as failure:
            self._fail(run.cookies, failure)
            return
        if not missing:
            self._send(self._out[: run.length])
            return
        start = 0
        for index, (cookie, (offset, length, at)) in enumerate(
            zip(run.cookies, run.pieces, strict=True)
        ):
            if index in missing:
                self._carry_out(Request(0, _READ, cookie, offset, length), self._read_whole)
            else:
                self._send(self._out[start : at + length])
            start = at + length

    def _write_run(self, run: _Run) -> None:
        try:
            self._writes.write(run.pieces)
        except DrivebayError as failure:
            # Which of them are in place is not known, and none was answered.
            self._fail(run.cookies, failure)
            return
        done = self._protocol.done
        self._send(b"".join([done(cookie) for cookie in run.cookies]))

    def _single(self, request: Request) -> bool:
        """Carry out a request that is long, has flags or is neither a read nor a write."""
        refusal = self._protocol.refusal(
            request.flags, request.command, request.offset, request.length
        )
        if request.command == _WRITE:
            self._write(request, refusal)
            return True
        if request.command == Command.DISC:
            return False
        if refusal is not None:
            self._send(self._protocol.failed(request.cookie, *refusal))
        elif request.command == _READ:
            self._read(request)
        elif request.command == Command.BLOCK_STATUS:
            self._block_status(request)
        elif request.command == Command.FLUSH:
            self._carry_out(request, self._flush)
        else:
            self._carry_out(request, self._zero)
        return True

    def _read(self, request: Request) -> None:
        buffer = self._piece_buffer()
        is_long = request.length > PIECE
        # A reply without chunks is one piece, whatever it is sent in.
        is_one = is_long and not self._protocol.structured
        with self._sending if is_one else nullcontext():
            for done in range(0, request.length, PIECE):
                piece = buffer[: min(PIECE, request.length - done)]
                try:
                    decode = self._fetched(request.offset + done, piece, may_wait=is_long)
                    if decode is not None and done + len(piece) == request.length:
                        self._export.count_reads(request.length, 1)
                except DrivebayError as failure:
                    if done and not self._protocol.structured:
                        # The header has promised all of them.
                        raise Lost(f"{failure}; and a read was answered in part") from failure
                    self._fail([request.cookie], failure)
                    return
                if decode is None:
                    self._carry_out(request, self._read_whole, is_large=True)
                    return
                self._send_piece(request, done, piece, decode)

    def _fetched(self, offset: int, piece: memoryview, *, may_wait: bool) -> Decode | None:
        with self._export.reading(offset, len(piece)) as volume:
            decode = volume.fetch_now(offset, piece)
            if decode is None and may_wait:
                volume.pread(offset, piece)
                decode = decoded
        return decode

    def _send_piece(self, request: Request, done: int, piece: memoryview, decode: Decode) -> None:
        """Decode and send a piece of a read's data."""
        is_last = done + len(piece) == request.length
        head = b""
        if self._protocol.structured or not done:
            # A simple reply has one header, for all of its pieces.
            last = is_last or not self._protocol.structured
            head = self._protocol.data_header(
                request.cookie, request.offset + done, len(piece), last=last
            )
        with self._sending:
            for start in range(0, len(piece), _DECODE):
                end = min(start + _DECODE, len(piece))
                decode(start, end)
                self._send_parts([head, piece[start:end]] if start == 0 else [piece[start:end]])

    def _write(self, request: Request, refusal: tuple[int, str] | None) -> None:
        """Take a write's data in, and write it; a refused one's is dropped."""
        try:
            self._take_in(request, is_refused=refusal is not None)
            if refusal is None and not request.flags & FLAG_FUA:
                self._export.count_writes(request.length, 1)
        except DrivebayError as failure:
            self._fail([request.cookie], failure)
            return
        if refusal is not None:
            self._send(self._protocol.failed(request.cookie, *refusal))
        elif request.flags & FLAG_FUA:
            self._carry_out(request, self._finish_write)
        else:
            self._send(self._protocol.done(request.cookie))

    def _take_in(self, request: Request, *, is_refused: bool) -> None:
        """Receive all of a write's data, and write it piece by piece until one fails."""
        buffer = self._piece_buffer()
        failure: DrivebayError | None = None
        for done in range(0, request.length, PIECE):
            piece = buffer[: min(PIECE, request.length - done)]
            self._take(piece)
            if is_refused or failure is not None:
                continue
            try:
                with self._export.writing(request.offset + done, len(piece)) as volume:
                    volume.pwrite(request.offset + done, piece)
            except DrivebayError as error:
                failure = error
        if failure is not None:
            raise failure

    def _take(self, piece: memoryview) -> None:
        """Fill *piece* with what comes next."""
        have = min(self._end - self._at, len(piece))
        piece[:have] = self._in[self._at : self._at + have]
        self._at += have
        while have < len(piece):
            count = self._recv_into(piece[have:], is_idle=False)
            if not count:
                raise Lost("closed in the middle of a write")
            have += count

    def _block_status(self, request: Request) -> None:
        try:
            with self._export.reading(request.offset, request.length):
                reply = self._protocol.block_status(
                    request.cookie,
                    (
                        (extent.length, extent.is_data)
                        for extent in self._export.extents(request.offset, request.length)
                    ),
                    length=request.length,
                    only_one=bool(request.flags & FLAG_REQ_ONE),
                )
        except DrivebayError as failure:
            self._fail([request.cookie], failure)
            return
        self._send(reply)

    def _carry_out(
        self,
        request: Request,
        how: Callable[[Request, Export], Parts],
        *,
        is_large: bool = False,
    ) -> None:
        """Do what waits for a disk aside, or here where that cannot be."""
        work = partial(self._reply_of, how, request)
        if self._aside is None or not self._aside.take(work, is_large=is_large):
            self._send_parts(work(self._export))

    def _reply_of(
        self, how: Callable[[Request, Export], Parts], request: Request, export: Export
    ) -> Parts:
        try:
            return how(request, export)
        except DrivebayError as failure:
            return [self._failure([request.cookie], failure)]

    def _read_whole(self, request: Request, export: Export) -> Parts:
        data = memoryview(bytearray(request.length))
        with export.reading(request.offset, request.length) as volume:
            volume.pread(request.offset, data)
        export.count_reads(request.length, 1)
        return [self._protocol.data_header(request.cookie, request.offset, request.length), data]

    def _flush(self, request: Request, export: Export) -> Parts:
        export.flush()
        return [self._protocol.done(request.cookie)]

    def _finish_write(self, request: Request, export: Export) -> Parts:
        export.flush()
        export.count_writes(request.length, 1)
        return [self._protocol.done(request.cookie)]

    def _zero(self, request: Request, export: Export) -> Parts:
        with export.writing(request.offset, request.length) as volume:
            volume.zero(request.offset, request.length)
            if request.flags & FLAG_NO_HOLE:
                volume.reserve(request.offset, request.length)
        if request.flags & FLAG_FUA:
            export.flush()
        if request.command == Command.WRITE_ZEROES:
            export.count_writes(request.length, 1)
        return [self._protocol.done(request.cookie)]

    def _fail(self, cookies: Sequence[int], failure: DrivebayError) -> None:
        """Answer all of *cookies* with *failure*; one that ends the session is raised again."""
        self._send(self._failure(cookies, failure))
        if isinstance(failure, ClaimEnded):
            raise failure

    def _failure(self, cookies: Sequence[int], failure: DrivebayError) -> bytes:
        number = _number(failure)
        if number == Errno.EIO:
            _log.error("drive %s: %s", self._export.drive, failure)
        failed = self._protocol.failed
        return b"".join([failed(cookie, number, str(failure)) for cookie in cookies])

    def _send(self, data: bytes | memoryview) -> None:
        with self._sending:
            self._socket.sendall(data)

    def _send_parts(self, parts: Parts) -> None:
        with self._sending:
            if isinstance(self._socket, ssl.SSLSocket):
                self._socket.sendall(b"".join(parts))
                return
            sent = self._socket.sendmsg(parts)
            for part in parts:
                if sent < len(part):
                    self._socket.sendall(part[sent:])
                sent = max(0, sent - len(part))

    def _piece_buffer(self) -> memoryview:
        if self._piece is None:
            self._piece = _buffer(PIECE)
        return self._piece


def _buffer(length: int) -> memoryview:
    """Return a buffer of which a page is taken from the machine only when it is first used."""
    return memoryview(mmap.mmap(-1, length))


def _number(failure: DrivebayError) -> int:
    if isinstance(failure, OutOfSpace):
        return Errno.ENOSPC
    if isinstance(failure, ClaimEnded):
        return Errno.ESHUTDOWN
    return Errno.EIO
