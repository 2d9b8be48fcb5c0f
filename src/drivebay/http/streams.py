"""The bridge between async bodies and blocking code: buffers, a thread pool, deadlines."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from drivebay.http.buffers import Buffers
from drivebay.http.connection import Disconnected, Exchange, TooSlow
from drivebay.http.direct import Broken, DirectSender
from drivebay.http.errors import Refusal, refused
from drivebay.http.pace import RATE_MIN_BYTES_PER_S
from drivebay.http.threads import Threads
from drivebay.http.turns import Turns
from drivebay.model import TRANSFER_MAX
from drivebay.storage.volume import Decode
from drivebay.units import KIB, MIB
from drivebay.wire import ErrorWord

_log = logging.getLogger("drivebay.http")

PAIRS_MAX = 2 * MIB
"""The longest KEY VALUE or JSON body."""

# Enough for the disks to be busy and few enough to be bounded: a thread holds one transfer.
THREADS = 32

# Threads for what waits for nothing but a core.  One a core is enough, and more are slower: each has
# a buffer of 4 MiB in hand, and the caches hold few.
LANES = len(os.sched_getaffinity(0))

# A change may wait for transfers in flight to end, and holds a thread meanwhile.
_CHANGES_PER_USER = 8

# What a caller may leave unread of a body that we do not want, before we hang up.
_IGNORED_BODY_MAX = 64 * KIB

Body = AsyncGenerator[memoryview]


class Streams:
    """One worker's threads, its buffers, and what its users have in flight."""

    def __init__(self, *, stall_timeout_s: float, transfers_per_user: int) -> None:
        """Make the pool; its threads start when they are needed."""
        self.stall_timeout_s = stall_timeout_s
        self.transfers = Turns("transfers", per_user=transfers_per_user, wait_s=stall_timeout_s)
        # Apart from the transfers, which callers can hold for as long as they dawdle.
        self.changes = Turns("changes", per_user=_CHANGES_PER_USER, wait_s=stall_timeout_s)
        self._threads = Threads(THREADS, "drivebay")
        self.call = self._threads.call
        self._lanes = Threads(LANES, "drivebay-lane")
        self._buffers = Buffers()

    async def small_body(self, scope: Scope, receive: Receive) -> bytes:
        """Return a body of KEY VALUE pairs, or of a call that needs none.

        Raises:
            Refusal: it is too long, too slow or incomplete.
        """
        length = int(Headers(scope=scope).get("content-length", "0"))
        if length == 0:
            return b""
        if length > PAIRS_MAX:
            raise refused(400, f"the body is longer than {PAIRS_MAX} bytes")
        body = bytearray()
        async for part in self._parts(receive, length=length):
            body += part
        return bytes(body)

    async def pieces(self, scope: Scope, receive: Receive, length: int) -> Body:
        """Yield a body of *length* bytes in pieces of 4 MiB, each in the same buffer.

        Raises:
            Refusal: it is too slow or incomplete.
        """
        exchange = scope.get("extensions", {}).get("drivebay.exchange")
        with self._buffers.lent(min(length, TRANSFER_MAX)) as buffer:
            if exchange is None:
                body = self._copied(receive, buffer, length)
            else:
                body = self._received(exchange, buffer, length)
            async for piece in body:
                yield piece

    async def _received(self, exchange: Exchange, buffer: memoryview, length: int) -> Body:
        """Receive into *buffer* itself."""
        left = length
        while left:
            piece = buffer[: min(left, len(buffer))]
            within_s = self.stall_timeout_s + len(piece) / RATE_MIN_BYTES_PER_S
            try:
                await exchange.fill(piece, stall_s=self.stall_timeout_s, within_s=within_s)
            except TooSlow as error:
                raise _too_slow() from error
            except Disconnected as error:
                raise refused(400, "the connection ended before the body did") from error
            left -= len(piece)
            yield piece

    async def _copied(self, receive: Receive, buffer: memoryview, length: int) -> Body:
        """Copy what another ASGI server has received."""
        filled, received = 0, 0
        async for part in self._parts(receive, length=length):
            rest = memoryview(part)
            received += len(rest)
            while rest:
                taken = min(len(rest), len(buffer) - filled)
                buffer[filled : filled + taken] = rest[:taken]
                filled, rest = filled + taken, rest[taken:]
                if filled == len(buffer):
                    yield buffer
                    filled = 0
        if received != length:
            raise refused(400, f"the body has {received} of {length} bytes")
        if filled:
            yield buffer[:filled]

    async def _parts(self, receive: Receive, *, length: int) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        started, paused = loop.time(), 0.0
        budget_s = self.stall_timeout_s + length / RATE_MIN_BYTES_PER_S
        while True:
            left_s = started + paused + budget_s - loop.time()
            try:
                async with asyncio.timeout(min(self.stall_timeout_s, left_s)):
                    message = await receive()
            except TimeoutError as error:
                raise _too_slow() from error
            if message["type"] == "http.disconnect":
                raise refused(400, "the connection ended before the body did")
            if body := message.get("body", b""):
                before = loop.time()
                yield body
                # The time that the disk took is not the sender's.
                paused += loop.time() - before
            if not message.get("more_body", False):
                return

    async def ignore_body(self, scope: Scope, receive: Receive) -> bool:
        """Take an unwanted body in if that is cheap; return whether the connection is clean."""
        headers = Headers(scope=scope)
        length = int(headers.get("content-length", "0"))
        if length == 0:
            return True
        if length > _IGNORED_BODY_MAX or "expect" in headers:
            return False
        try:
            async for _ in self._parts(receive, length=length):
                pass
        except Refusal:
            return False
        return True

    async def send_head(self, send: Send, length: int) -> None:
        """Answer a HEAD request as the GET of *length* bytes would begin."""
        await send(_start_of_bytes(length))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def send_fetched(
        self,
        scope: Scope,
        send: Send,
        length: int,
        *,
        fetch_now: Callable[[memoryview], Decode | None],
        fetch: Callable[[memoryview], Decode],
    ) -> None:
        """Answer 200 with *length* bytes, at most 4 MiB, that are put into a buffer in a thread.

        By *fetch_now*, or by *fetch* where that says that it takes waiting.  Returns when the
        kernel has taken them, or the caller is gone.  A reader that never reads holds its turn
        until the connection cuts it off.
        """
        start = _start_of_bytes(length)
        exchange: Exchange | None = scope.get("extensions", {}).get("drivebay.exchange")
        direct = exchange.start_direct(start) if exchange else None
        if exchange is None or direct is None:
            buffer = self._buffers.take()
            view = memoryview(buffer)[:length]
            (await self.call(fetch, view))(0, length)
            await send(start)
            await send({"type": "http.response.body", "body": view, "more_body": False})
            # Not when the sending was broken off: the transport may still look at it.
            self._buffers.give(buffer)
            return
        try:
            sent = await self._lanes.call(self._send_if, fetch_now, length, *direct)
            if sent is None:
                sent = await self.call(self._send_if, fetch, length, *direct)
        except Broken as broken:
            if not isinstance(broken.__cause__, OSError):
                _log.error("an answer could not be finished", exc_info=broken)
            exchange.abort()
            return
        if sent is not None:
            await exchange.end_direct(sent.rest)
            if sent.buffer is not None:
                self._buffers.give(sent.buffer)

    def _send_if(
        self,
        fetch: Callable[[memoryview], Decode | None],
        length: int,
        sender: DirectSender,
        head: bytes,
    ) -> "_Sent | None":
        """Fill a buffer and send it, in a thread; or return None if *fetch* does.

        The buffer is taken and given back here and not in the loop, so that no more of them are in
        use than threads are.
        """
        buffer = self._buffers.take()
        rest = memoryview(b"")
        try:
            view = memoryview(buffer)[:length]
            decode = fetch(view)
            if decode is None:
                return None
            rest = sender.send(head, view, decode)
        finally:
            if not rest:
                self._buffers.give(buffer)
        return _Sent(rest, buffer if rest else None)

    def close(self) -> None:
        """Wait for the threads and end them."""
        self._threads.close()
        self._lanes.close()


@dataclass(frozen=True, slots=True)
class _Sent:
    """What of an answer the caller has not taken yet, and the buffer that it lies in."""

    rest: memoryview
    buffer: bytearray | None


def _too_slow() -> Refusal:
    # What is left of the body is not waited for a second time.
    return Refusal(408, ErrorWord.USAGE, "the body came too slowly", {"Connection": "close"})


def _start_of_bytes(length: int) -> Message:
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", str(length).encode()),
    ]
    return {"type": "http.response.start", "status": 200, "headers": headers}
