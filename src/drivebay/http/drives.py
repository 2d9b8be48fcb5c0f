"""The routes of the Drive API: each turns a path and a body into one call of the service."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Concatenate, ParamSpec, TypeVar
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from drivebay import wire
from drivebay.errors import DrivebayError, DriveNotFound, InvalidInput, WritePastEnd
from drivebay.http import replies
from drivebay.http.errors import Refusal
from drivebay.http.streams import Streams
from drivebay.model import TRANSFER_MAX, Conversion
from drivebay.service import drives, imaging, transfer
from drivebay.service.context import Context
from drivebay.units import parse_size
from drivebay.wire import ErrorWord

P = ParamSpec("P")
T = TypeVar("T")

_SHOWN_MAX = 64


class DriveRoutes:
    """The endpoints, over one worker's context and streams."""

    def __init__(self, ctx: Context, streams: Streams) -> None:
        """Serve *ctx*."""
        self._ctx = ctx
        self._streams = streams

    def routes(self) -> list[Route]:
        """Return every route with its methods.

        Reading calls take POST too: the vendor's own tool sends nothing else.
        """
        read = ["GET", "POST"]
        return [
            Route("/drives/list", self.list, methods=read),
            Route("/drives/list/standard", self.list_standard, methods=read),
            Route("/drives/standard/list", self.list_standard, methods=read),
            Route("/drives/info", self.info_all, methods=read),
            Route("/drives/info/full", self.info_all_full, methods=read),
            Route("/drives/info/standard", self.info_standard, methods=read),
            Route("/drives/standard/info", self.info_standard, methods=read),
            Route("/drives/create", self.create, methods=["POST"]),
            Route("/drives/{drive}/info", self.info, methods=read),
            Route("/drives/{drive}/info/full", self.info_full, methods=read),
            Route("/drives/{drive}/set", self.set, methods=["POST"]),
            Route("/drives/{drive}/destroy", self.destroy, methods=["POST"]),
            Route("/drives/{drive}/image/cancel", self.cancel, methods=["POST"]),
            Route("/drives/{drive}/image/{source}", self.image, methods=["POST"]),
            Route("/drives/{drive}/image/{source}/{conversion}", self.image, methods=["POST"]),
            Route("/drives/{drive}/clone", self.clone, methods=["POST"]),
            Route("/drives/{drive}/clone/{conversion}", self.clone, methods=["POST"]),
            Route("/drives/{drive}/read/{offset}/{size}", self.read, methods=read),
            Route("/drives/{drive}/write", self.write, methods=["POST"]),
            Route("/drives/{drive}/write/{offset}", self.write, methods=["POST"]),
        ]

    async def list(self, request: Request) -> Response:
        """GET /drives/list: the caller's drives."""
        await self._streams.small_body(request)
        uuids = await self._streams.call(drives.listed, self._ctx, _caller(request))
        return replies.uuids(request.headers, uuids)

    async def list_standard(self, request: Request) -> Response:
        """GET /drives/list/standard: the drives that everybody may image from."""
        await self._streams.small_body(request)
        uuids = await self._streams.call(drives.listed_standard, self._ctx)
        return replies.uuids(request.headers, uuids)

    async def info_all(self, request: Request, *, full: bool = False) -> Response:
        """GET /drives/info: the caller's drives' records."""
        await self._streams.small_body(request)
        caller = _caller(request)
        records = await self._streams.call(drives.info_all, self._ctx, caller, full=full)
        return replies.many(request.headers, records)

    async def info_all_full(self, request: Request) -> Response:
        """GET /drives/info/full: the same, with percentages and stores."""
        return await self.info_all(request, full=True)

    async def info_standard(self, request: Request) -> Response:
        """GET /drives/info/standard: the standard drives' records."""
        await self._streams.small_body(request)
        records = await self._streams.call(drives.info_standard, self._ctx, _caller(request))
        return replies.many(request.headers, records)

    async def info(self, request: Request, *, full: bool = False) -> Response:
        """GET /drives/DRIVE/info: one record."""
        await self._streams.small_body(request)
        caller, drive = _caller(request), _drive(request, "drive")
        record = await self._streams.call(drives.info, self._ctx, caller, drive, full=full)
        return replies.one(request.headers, record)

    async def info_full(self, request: Request) -> Response:
        """GET /drives/DRIVE/info/full: one record, with percentage and store."""
        return await self.info(request, full=True)

    async def create(self, request: Request) -> Response:
        """POST /drives/create: a new drive of zeros."""
        pairs = _pairs(request, await self._streams.small_body(request))
        record = await self._change(drives.create, _caller(request), pairs)
        return replies.one(request.headers, record)

    async def set(self, request: Request) -> Response:
        """POST /drives/DRIVE/set: change fields and size."""
        body = await self._streams.small_body(request)
        caller, drive = _caller(request), _drive(request, "drive")
        record = await self._change(drives.change, caller, drive, lambda: _pairs(request, body))
        return replies.one(request.headers, record)

    async def destroy(self, request: Request) -> Response:
        """POST /drives/DRIVE/destroy."""
        await self._streams.small_body(request)
        caller, drive = _caller(request), _drive(request, "drive")
        await self._change(drives.destroy, caller, drive)
        return replies.nothing()

    async def image(self, request: Request) -> Response:
        """POST /drives/DRIVE/image/SOURCE[/CONVERSION]: copy SOURCE onto DRIVE."""
        await self._streams.small_body(request)
        caller, drive = _caller(request), _drive(request, "drive")
        source = _drive(request, "source")
        async with (
            self._missing_first(drives.require_owned, caller, drive),
            self._missing_first(drives.require_readable, caller, source),
        ):
            conversion = _conversion(request)
        await self._change(imaging.image, caller, drive, source, conversion)
        return replies.nothing()

    async def cancel(self, request: Request) -> Response:
        """POST /drives/DRIVE/image/cancel: stop imaging of DRIVE."""
        await self._streams.small_body(request)
        caller, drive = _caller(request), _drive(request, "drive")
        await self._change(imaging.cancel, caller, drive)
        return replies.nothing()

    async def clone(self, request: Request) -> Response:
        """POST /drives/SOURCE/clone[/CONVERSION]: a new drive, imaged from SOURCE."""
        body = await self._streams.small_body(request)
        caller, source = _caller(request), _drive(request, "drive")
        async with self._missing_first(drives.require_readable, caller, source):
            conversion, pairs = _conversion(request), _pairs(request, body)
        record = await self._change(imaging.clone, caller, source, conversion, pairs)
        return replies.one(request.headers, record)

    async def read(self, request: Request) -> ASGIApp:
        """GET /drives/DRIVE/read/OFFSET/SIZE: up to 4 MiB of the drive's bytes."""
        await self._streams.small_body(request)
        caller, drive = _caller(request), _drive(request, "drive")
        async with self._missing_first(drives.require_readable, caller, drive):
            offset, length = _size(request, "offset"), _size(request, "size")
        call, head = self._streams.call, request.method == "HEAD"

        async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
            if head:
                await call(transfer.check_read, self._ctx, caller, drive, offset, length)
                await self._streams.send_head(send, length)
                return
            async with self._streams.transfers.taken(caller):
                if length > TRANSFER_MAX:
                    await call(transfer.check_read, self._ctx, caller, drive, offset, length)
                with self._streams.buffer(length) as buffer:
                    await call(transfer.read, self._ctx, caller, drive, offset, buffer)
                    await self._streams.send_bytes(send, buffer)

        return answer

    async def write(self, request: Request) -> Response:
        """POST /drives/DRIVE/write[/OFFSET]: the body's bytes onto the drive."""
        streams = self._streams
        caller, drive = _caller(request), _drive(request, "drive")
        async with self._missing_first(drives.require_owned, caller, drive):
            offset = _size(request, "offset") if "offset" in request.path_params else 0
            length, gzip = _content_length(request), _is_gzip(request)
        async with streams.transfers.taken(caller):
            upload = await streams.call(
                transfer.Upload, self._ctx, caller, drive, offset, length=length, gzip=gzip
            )
            try:
                body = streams.pieces(request.scope, request.receive, length)
                async with aclosing(body) as pieces:
                    async for piece in pieces:
                        await streams.call(upload.feed, piece)
                await streams.call(upload.finish)
            except (DrivebayError, Refusal) as failure:
                # WritePastEnd says it itself.
                if upload.in_place and not isinstance(failure, WritePastEnd):
                    failure.add_note(f"{upload.in_place} bytes from offset {offset} are in place")
                raise
        return replies.nothing()

    async def _change(
        self,
        function: Callable[Concatenate[Context, UUID, P], T],
        caller: UUID,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a change of *caller*'s in a thread, when it is their turn."""
        async with self._streams.changes.taken(caller):
            return await self._streams.call(function, self._ctx, caller, *args, **kwargs)

    @asynccontextmanager
    async def _missing_first(
        self, check: Callable[[Context, UUID, UUID], None], caller: UUID, drive: UUID
    ) -> AsyncIterator[None]:
        """Let a drive that is not the caller's be missing, whatever else is wrong with the call."""
        try:
            yield
        except (InvalidInput, Refusal):
            await self._streams.call(check, self._ctx, caller, drive)
            raise


def _caller(request: Request) -> UUID:
    caller: UUID = request.scope["drivebay.caller"]
    return caller


def _drive(request: Request, parameter: str) -> UUID:
    text = request.path_params[parameter]
    try:
        return wire.parse_uuid(text)
    except ValueError as error:
        shown = re.sub(r"[^ -~]", "?", text[:_SHOWN_MAX])
        raise DriveNotFound(drive=shown) from error


def _size(request: Request, parameter: str) -> int:
    try:
        return parse_size(request.path_params[parameter])
    except ValueError as error:
        raise InvalidInput(reason=f"{parameter}: {error}") from error


def _conversion(request: Request) -> Conversion:
    word = request.path_params.get("conversion")
    return Conversion.NONE if word is None else imaging.parse_conversion(word)


def _pairs(request: Request, body: bytes) -> Mapping[str, str]:
    # Everything that does not call itself JSON is KEY VALUE text: clients send any type.
    if "json" in request.headers.get("content-type", "").lower():
        return wire.parse_json(body)
    return wire.parse_text(body)


def _content_length(request: Request) -> int:
    text = request.headers.get("content-length")
    if text is None:
        # A body may follow all the same, and nobody could tell where it ends.
        sentence = "a write needs a Content-Length"
        raise Refusal(411, ErrorWord.USAGE, sentence, {"Connection": "close"})
    try:
        return parse_size(text)
    except ValueError as error:
        raise InvalidInput(reason=f"Content-Length: {error}") from error


def _is_gzip(request: Request) -> bool:
    coding = ", ".join(request.headers.getlist("content-encoding")).strip().lower()
    if coding not in {"identity", "", "gzip", "x-gzip"}:
        raise InvalidInput(reason="Content-Encoding must be gzip or identity")
    return coding.endswith("gzip")
