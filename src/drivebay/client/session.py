"""One user's conversation with a drive service: every call of the API as a typed method."""

import json
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Self

from drivebay import wire
from drivebay.client.errors import (
    ApiError,
    BadReply,
    ConnectionFailed,
    ServerFailed,
    Unavailable,
    from_status,
)
from drivebay.client.transport import Reply, Trace, Transport
from drivebay.errors import InvalidInput
from drivebay.units import KIB, MIB, OFFSET_MAX
from drivebay.wire import Record

OK, NO_CONTENT = 200, 204

# 100,000 drives of some 500 bytes each, and as much again.
LISTING_BYTES_MAX = 100 * MIB
# 100 `user:` keys of 128 + 4096 bytes, 256 readers, and their JSON escapes (six bytes for one).
RECORD_BYTES_MAX = 4 * MIB
EMPTY_BYTES_MAX = KIB

# A 500 is rarely cured by waiting; a server that restarts is back within seconds.
_SERVER_FAILED_RETRIES_MAX = 2
_BACKOFF_FIRST_S = 0.25
_BACKOFF_S_MAX = 8.0

# The characters of RFC 3986, so that none can end a line or a word.
_NBD_URI = re.compile(r"(nbds?|nbd\+unix)://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")


class Session:
    """Calls to one service as one user, over kept-alive connections.

    Threads may share a session.  Every method raises `ClientError`.  Calls that may be repeated
    without harm (reads, and writes of the same bytes) are repeated up to *retries* times when the
    connection breaks or the server says that it failed; the others never are, once the server may
    have acted on them.
    """

    def __init__(
        self,
        url: str,
        user: str,
        key: str,
        *,
        retries: int = 2,
        connections: int = 4,
        trace: Callable[[Trace], None] | None = None,
    ) -> None:
        self.user = user
        self._transport = Transport(url, user, key, connections=connections, trace=trace)
        self._retries = retries
        self.sleep: Callable[[float], None] = time.sleep
        self._was_reached = False

    @property
    def url(self) -> str:
        """The service's address."""
        return self._transport.url

    def __repr__(self) -> str:
        return f"Session({self.url!r}, user={self.user!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections."""
        self._transport.close()

    def list_drives(self, *, standard: bool = False) -> list[str]:
        """Return the uuids of the user's drives, or of the standard ones."""
        reply = self._safe(
            "GET",
            "/drives/list/standard" if standard else "/drives/list",
            limit=LISTING_BYTES_MAX,
        )
        records = _parsed(reply)
        return [str(record.get("drive") or record.get("uuid", "")) for record in records]

    def infos(self, *, full: bool = False, standard: bool = False) -> list[Record]:
        """Return the records of all of the user's drives, or of the standard ones."""
        if standard:
            return self._records("/drives/info/standard")
        return self._records("/drives/info/full" if full else "/drives/info")

    def info(self, drive: str, *, full: bool = False) -> Record:
        """Return one drive's record; only *full* says how far imaging has come."""
        path = f"/drives/{drive}/info/full" if full else f"/drives/{drive}/info"
        return _one(self._safe("GET", path, limit=RECORD_BYTES_MAX))

    def create(self, values: Mapping[str, str | int]) -> Record:
        """Create a drive and return its record."""
        return self._change("/drives/create", values)

    def set(self, drive: str, values: Mapping[str, str | int]) -> Record:
        """Change a drive's record and return it; an empty value removes its key."""
        return self._change(f"/drives/{drive}/set", values)

    def destroy(self, drive: str) -> None:
        """Destroy a drive."""
        self._empty(f"/drives/{drive}/destroy")

    def image(self, drive: str, source: str, conversion: str = "") -> None:
        """Start imaging *drive* from *source*; *conversion* is empty, ``gzip`` or ``gunzip``."""
        suffix = f"/{conversion}" if conversion else ""
        self._empty(f"/drives/{drive}/image/{source}{suffix}")

    def cancel_imaging(self, drive: str) -> None:
        """Stop imaging onto *drive*."""
        self._empty(f"/drives/{drive}/image/cancel")

    def claim(self, drive: str, server: str, *, access: str = "") -> Record:
        """Let *server* hold the drive; return its record with `nbd`, the URI that it is used by.

        *access* is ``read`` or ``write``; by default the owner's is for writing, a reader's for
        reading.  The URI holds a secret.  To claim a drive again ends the connections of the first
        time, so a claim whose answer was lost is made once more without harm.
        """
        path = f"/drives/{drive}/claim/{server}"
        values = {"claim:access": access} if access else {}
        record = self._change(path, values, is_safe=True)
        if not _NBD_URI.fullmatch(str(record.get("nbd", ""))):
            raise BadReply(call=f"POST {path}", reason="a claim without the URI of its drive")
        return record

    def release(self, drive: str, server: str) -> None:
        """End the hold of *server* on the drive; its connections are closed on return."""
        self._empty(f"/drives/{drive}/release/{server}")

    def read(self, drive: str, offset: int, length: int) -> bytes:
        """Return exactly *length* bytes, at most 4 MiB, from *offset*."""
        path = f"/drives/{drive}/read/{offset}/{length}"
        reply = self._safe("GET", path, limit=length, accept="application/octet-stream")
        if len(reply.body) != length:
            raise BadReply(call=reply.call, reason=f"{len(reply.body)} bytes instead of {length}")
        return reply.body

    def write(self, drive: str, offset: int, data: bytes, *, gzip: bool = False) -> None:
        """Write *data* at *offset*; it is durable on return.

        With *gzip*, *data* is a whole gzip member and the drive receives what it decodes to.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if gzip:
            headers["Content-Encoding"] = "gzip"
        path = f"/drives/{drive}/write/{offset}"
        self._retrying(
            lambda: self._expect(
                NO_CONTENT, "POST", path, body=data, headers=headers, limit=EMPTY_BYTES_MAX
            ),
            is_safe=True,
        )

    def call(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Make any call, once, and return its reply whatever its status is below 400."""
        reply = self._transport.request(
            method, path, body=body, headers=headers, limit=LISTING_BYTES_MAX
        )
        if reply.status >= 400:
            raise from_status(reply.status, reply.headers, reply.body)
        return reply

    def _records(self, path: str) -> list[Record]:
        reply = self._safe("GET", path, limit=LISTING_BYTES_MAX)
        return [_checked(reply, record) for record in _parsed(reply)]

    def _change(
        self, path: str, values: Mapping[str, str | int], *, is_safe: bool = False
    ) -> Record:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        body = json.dumps(dict(values)).encode()
        return _one(
            self._retrying(
                lambda: self._expect(
                    OK, "POST", path, body=body, headers=headers, limit=RECORD_BYTES_MAX
                ),
                is_safe=is_safe,
            )
        )

    def _empty(self, path: str) -> None:
        self._retrying(
            lambda: self._expect(NO_CONTENT, "POST", path, limit=EMPTY_BYTES_MAX), is_safe=False
        )

    def _safe(
        self, method: str, path: str, *, limit: int, accept: str = "application/json"
    ) -> Reply:
        headers = {"Accept": accept}
        return self._retrying(
            lambda: self._expect(OK, method, path, headers=headers, limit=limit), is_safe=True
        )

    def _expect(
        self,
        status: int,
        method: str,
        path: str,
        *,
        limit: int,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        reply = self._transport.request(method, path, body=body, headers=headers or {}, limit=limit)
        self._was_reached = True
        if reply.status == status:
            return reply
        if reply.status < 400:
            where = reply.headers.get("Location", "")
            raise BadReply(
                call=reply.call,
                reason=f"status {reply.status} instead of {status}",
                hint=f"the server points to {where}; if you trust it, use that URL"
                if where
                else "",
            )
        raise from_status(reply.status, reply.headers, reply.body)

    def _retrying(self, attempt: Callable[[], Reply], *, is_safe: bool) -> Reply:
        for tried in range(self._retries):
            try:
                return attempt()
            except (ConnectionFailed, ServerFailed, Unavailable) as failure:
                if not self._may_repeat(failure, tried, is_safe=is_safe):
                    raise
                self.sleep(_pause(failure, tried))
        return attempt()

    def _may_repeat(self, failure: Exception, tried: int, *, is_safe: bool) -> bool:
        match failure:
            case ConnectionFailed(was_sent=False):
                # A wrong address does not get better; a server that answered before restarts.
                return self._was_reached
            case ServerFailed():
                return is_safe and tried < _SERVER_FAILED_RETRIES_MAX
            case _:
                return is_safe


def _pause(failure: Exception, tried: int) -> float:
    if isinstance(failure, ApiError) and failure.retry_after_s is not None:
        return failure.retry_after_s
    # Half of it at random, so that four connections that broke together do not return together.
    whole = min(_BACKOFF_FIRST_S * 2.0**tried, _BACKOFF_S_MAX)
    return whole * random.uniform(0.5, 1)  # noqa: S311 - no secret depends on it


def _parsed(reply: Reply) -> list[Record]:
    try:
        return wire.parse_json_records(reply.body)
    except InvalidInput as error:
        raise BadReply(call=reply.call, reason=str(error)) from error


def _one(reply: Reply) -> Record:
    records = _parsed(reply)
    if len(records) != 1:
        raise BadReply(call=reply.call, reason=f"{len(records)} records instead of one")
    return _checked(reply, records[0])


def _checked(reply: Reply, record: Record) -> Record:
    """Return a drive's record whose uuid and size are what everything else relies on."""
    try:
        wire.parse_uuid(str(record.get("drive", "")))
    except ValueError as error:
        raise BadReply(call=reply.call, reason="a record without a drive's uuid") from error
    size = record.get("size", "")
    if isinstance(size, str) and size.isascii() and size.isdecimal() and len(size) < 20:
        size = record["size"] = int(size)
    if not (isinstance(size, int) and 0 <= size <= OFFSET_MAX):
        raise BadReply(call=reply.call, reason="a record without a drive's size")
    return record
