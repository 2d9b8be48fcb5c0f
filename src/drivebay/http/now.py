"""Answers that take no waiting: small reads from the page cache, and the info of one drive.

They are made where the head was read, in the loop's thread, without a task and without a thread.
Whatever is not at hand, and whatever is not a success, is left to the application, which looks at
the request afresh.
"""

from uuid import UUID

from starlette.datastructures import Headers

from drivebay.errors import DrivebayError
from drivebay.http import replies
from drivebay.http.auth import credentials
from drivebay.http.connection import lines_of
from drivebay.http.framing import Head
from drivebay.service import drives
from drivebay.service.accounts import Authenticator
from drivebay.service.context import Context
from drivebay.service.transfer import SteadyReader
from drivebay.storage.volume import WouldWait
from drivebay.units import KIB, parse_size
from drivebay.wire import parse_uuid

READ_MAX = 64 * KIB
"""The longest read that is answered at once: some 30 us of decrypting and sending, as long as it
takes to hand a longer one to a thread."""

_READ_START = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: %d\r\n\r\n"
)

_METHODS = {"GET", "POST"}

# Callers whose credentials are remembered, and pairs and a drive that are remembered.
_CALLERS_MAX = 1024
_READERS_MAX = 4096


class NowAnswers:
    """See `connection.NowAnswer`."""

    def __init__(self, ctx: Context, authenticator: Authenticator) -> None:
        """Serve *ctx* to whom *authenticator* knows."""
        self._ctx = ctx
        self._authenticator = authenticator
        self._callers: dict[bytes, tuple[int, UUID]] = {}
        self._readers: dict[tuple[bytes, ...], SteadyReader] = {}

    def __call__(self, head: Head) -> bytes | None:
        """Return the answer to *head*, or None."""
        parts = head.target.split(b"/")
        if head.method not in _METHODS or len(parts) < 4 or parts[1] != b"drives" or parts[0]:
            return None
        try:
            match parts[3:]:
                case [b"read", offset, length]:
                    return self._read(head, parts[2], offset, length)
                case [b"info"]:
                    return self._info(head, parts[2])
        except (DrivebayError, WouldWait, ValueError):
            pass
        return None

    def _known(self, head: Head) -> tuple[int, UUID]:
        """Return the catalog's version, and whose credentials hold at it."""
        values = head.values(b"authorization")
        version = self._ctx.catalog.version()
        if version is None or len(values) != 1:
            raise WouldWait
        known = self._callers.get(values[0])
        if known is not None and known[0] == version:
            return known
        # Looked up behind the version, so it is as new or newer.
        user, key = credentials([values[0].decode("latin-1")])
        found = self._authenticator.user_now(user, key)
        if found is None:
            raise WouldWait
        if len(self._callers) >= _CALLERS_MAX:
            self._callers.clear()
        known = self._callers[values[0]] = (version, found.uuid)
        return known

    def _info(self, head: Head, drive: bytes) -> bytes:
        _, caller = self._known(head)
        record = drives.info_now(self._ctx, caller, parse_uuid(drive.decode("ascii")))
        reply = replies.one(Headers(raw=head.headers), record)
        return b"HTTP/1.1 200 OK\r\n" + lines_of(reply.raw_headers) + bytes(reply.body)

    def _read(self, head: Head, drive: bytes, offset: bytes, size: bytes) -> bytes | None:
        length = parse_size(size.decode("ascii"))
        if not 0 < length <= READ_MAX:
            return None
        place, buffer = parse_size(offset.decode("ascii")), bytearray(length)
        if not self._filled(head, drive, place, memoryview(buffer)):
            return None
        return b"".join((_READ_START % length, buffer))

    def _filled(self, head: Head, drive: bytes, offset: int, buffer: memoryview) -> bool:
        name = (*head.values(b"authorization"), drive)
        reader = self._readers.get(name)
        if reader is not None and reader.read(offset, buffer):
            return True
        # Something has changed, or it is the first read.
        version, caller = self._known(head)
        reader = SteadyReader(self._ctx, caller, parse_uuid(drive.decode("ascii")), version)
        if len(self._readers) >= _READERS_MAX:
            self._readers.clear()
        self._readers[name] = reader
        return reader.read(offset, buffer)
