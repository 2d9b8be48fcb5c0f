"""The two calls that move a drive's bytes, as plain ASGI applications.

Whatever a 4 MiB transfer costs beside its bytes is Python, in the one thread that serves all: so
these two do without request and response objects, and go through a thread once.
"""

from contextlib import aclosing

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from drivebay.errors import DrivebayError, InvalidInput, WritePastEnd
from drivebay.http import parameters
from drivebay.http.errors import Refusal
from drivebay.http.parameters import missing_first
from drivebay.http.streams import Streams
from drivebay.model import TRANSFER_MAX
from drivebay.service import drives, transfer
from drivebay.service.context import Context
from drivebay.service.transfer import Upload
from drivebay.storage.volume import Decode, WouldWait, decoded
from drivebay.units import parse_size
from drivebay.wire import ErrorWord

_NOTHING: tuple[Message, ...] = (
    {"type": "http.response.start", "status": 204, "headers": []},
    {"type": "http.response.body", "body": b"", "more_body": False},
)


class Read:
    """GET /drives/DRIVE/read/OFFSET/SIZE: up to 4 MiB of the drive's bytes."""

    def __init__(self, ctx: Context, streams: Streams) -> None:
        """Serve *ctx*."""
        self._ctx = ctx
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has them."""
        ctx, streams = self._ctx, self._streams
        await streams.small_body(scope, receive)
        caller, drive = parameters.caller(scope), parameters.drive(scope)
        async with missing_first(ctx, streams, drives.require_readable, caller, drive):
            offset, length = parameters.size(scope, "offset"), parameters.size(scope, "size")
        if scope["method"] == "HEAD" or length > TRANSFER_MAX:
            await streams.call(transfer.check_read, ctx, caller, drive, offset, length)
            await streams.send_head(send, length)
            return

        def fetch(buffer: memoryview) -> Decode:
            transfer.read(ctx, caller, drive, offset, buffer)
            return decoded

        def fetch_now(buffer: memoryview) -> Decode | None:
            return transfer.fetch_now(ctx, caller, drive, offset, buffer)

        async with streams.transfers.taken(caller):
            await streams.send_fetched(scope, send, length, fetch_now=fetch_now, fetch=fetch)


class Write:
    """POST /drives/DRIVE/write[/OFFSET]: the body's bytes onto the drive."""

    def __init__(self, ctx: Context, streams: Streams) -> None:
        """Serve *ctx*."""
        self._ctx = ctx
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has them."""
        ctx, streams = self._ctx, self._streams
        caller, drive = parameters.caller(scope), parameters.drive(scope)
        async with missing_first(ctx, streams, drives.require_owned, caller, drive):
            offset = parameters.size(scope, "offset") if "offset" in scope["path_params"] else 0
            headers = Headers(scope=scope)
            length, gzip = _content_length(headers), _is_gzip(headers)
        async with streams.transfers.taken(caller):
            upload = Upload(ctx, caller, drive, offset, length=length, gzip=gzip)
            await self._begin(upload)
            await self._take(upload, scope, receive, length)
        for message in _NOTHING:
            await send(message)

    async def _begin(self, upload: Upload) -> None:
        try:
            upload.begin(now=True)
        except WouldWait:
            await self._streams.call(upload.begin)

    async def _take(self, upload: Upload, scope: Scope, receive: Receive, length: int) -> None:
        left = length
        try:
            async with aclosing(self._streams.pieces(scope, receive, length)) as pieces:
                async for piece in pieces:
                    left -= len(piece)
                    await self._streams.call(upload.feed, piece, is_last=not left)
            if not length:
                await self._streams.call(upload.finish)
        except (DrivebayError, Refusal) as failure:
            # WritePastEnd says it itself.
            if upload.in_place and not isinstance(failure, WritePastEnd):
                failure.add_note(
                    f"{upload.in_place} bytes from offset {upload.offset} are in place"
                )
            raise


def _content_length(headers: Headers) -> int:
    text = headers.get("content-length")
    if text is None:
        # A body may follow all the same, and nobody could tell where it ends.
        sentence = "a write needs a Content-Length"
        raise Refusal(411, ErrorWord.USAGE, sentence, {"Connection": "close"})
    try:
        return parse_size(text)
    except ValueError as error:
        raise InvalidInput(reason=f"Content-Length: {error}") from error


def _is_gzip(headers: Headers) -> bool:
    coding = ", ".join(headers.getlist("content-encoding")).strip().lower()
    if coding not in {"identity", "", "gzip", "x-gzip"}:
        raise InvalidInput(reason="Content-Encoding must be gzip or identity")
    return coding.endswith("gzip")
