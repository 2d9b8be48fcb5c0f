"""Answers that take no waiting: small reads from the page cache, and the info of one drive.

They are made where the head was read, in the loop's thread, without a task and without a thread.
Whatever is not at hand, and whatever is not a success, is left to the application, which looks at
the request afresh.
"""

from functools import lru_cache
from uuid import UUID

from starlette.datastructures import Headers

from drivebay.errors import DrivebayError
from drivebay.http import replies
from drivebay.http.auth import credentials
from drivebay.http.connection import lines_of
from drivebay.http.framing import Head
from drivebay.service import drives, transfer
from drivebay.service.accounts import Authenticator
from drivebay.service.context import Context
from drivebay.units import KIB, parse_size
from drivebay.wire import parse_uuid

READ_MAX = 64 * KIB
"""The longest read that is answered at once: some 30 us of decrypting and sending, as long as it
takes to hand a longer one to a thread."""

_READ = (b"read", 6)
_INFO = (b"info", 4)

# What a caller sends is the same each time.  What is kept are the words, not the verdict on them.
_credentials = lru_cache(maxsize=1024)(credentials)


class NowAnswers:
    """See `connection.NowAnswer`."""

    def __init__(self, ctx: Context, authenticator: Authenticator) -> None:
        """Serve *ctx* to whom *authenticator* knows."""
        self._ctx = ctx
        self._authenticator = authenticator

    def __call__(self, head: Head) -> bytes | None:
        """Return the answer to *head*, or None."""
        parts = head.target.split(b"/")
        if head.method not in {"GET", "POST"} or len(parts) < 4 or parts[:2] != [b"", b"drives"]:
            return None
        call = (parts[3], len(parts))
        if call not in {_READ, _INFO}:
            return None
        try:
            caller = self._caller(head)
            drive = parse_uuid(parts[2].decode("ascii"))
            if caller is None:
                return None
            if call == _INFO:
                return self._info(head, caller, drive)
            offset, length = (parse_size(part.decode("ascii")) for part in parts[4:])
        except (DrivebayError, ValueError):
            return None
        return self._read(caller, drive, offset, length) if 0 < length <= READ_MAX else None

    def _caller(self, head: Head) -> UUID | None:
        values = tuple(value.decode("latin-1") for value in head.values(b"authorization"))
        user, key = _credentials(values)
        known = self._authenticator.user_now(user, key)
        return None if known is None else known.uuid

    def _info(self, head: Head, caller: UUID, drive: UUID) -> bytes | None:
        if self._ctx.rows.kept_drive(drive) is None:
            return None
        reply = replies.one(Headers(raw=head.headers), drives.info(self._ctx, caller, drive))
        return b"HTTP/1.1 200 OK\r\n" + lines_of(reply.raw_headers) + bytes(reply.body)

    def _read(self, caller: UUID, drive: UUID, offset: int, length: int) -> bytes | None:
        buffer = bytearray(length)
        try:
            is_done = transfer.read_now(self._ctx, caller, drive, offset, memoryview(buffer))
        except DrivebayError:
            return None
        if not is_done:
            return None
        return (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n"
            b"content-length: %d\r\n\r\n%b" % (length, bytes(buffer))
        )
