"""The routes of the Drive API: each turns a path and a body into one call of the service."""

from collections.abc import Callable, Mapping
from typing import Concatenate, ParamSpec, TypeVar
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from drivebay import wire
from drivebay.http import parameters, replies
from drivebay.http.bulk import Read, Write
from drivebay.http.parameters import missing_first
from drivebay.http.streams import Streams
from drivebay.model import Conversion
from drivebay.service import claims, drives, imaging
from drivebay.service.context import Context

P = ParamSpec("P")
T = TypeVar("T")


class DriveRoutes:
    """The endpoints, over one worker's context and streams."""

    def __init__(self, ctx: Context, streams: Streams) -> None:
        """Serve *ctx*."""
        self._ctx = ctx
        self._streams = streams
        self.read = Read(ctx, streams)
        self.write = Write(ctx, streams)

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
            Route("/drives/{drive}/claim/{server}", self.claim, methods=["POST"]),
            Route("/drives/{drive}/release/{server}", self.release, methods=["POST"]),
            Route("/drives/{drive}/clone", self.clone, methods=["POST"]),
            Route("/drives/{drive}/clone/{conversion}", self.clone, methods=["POST"]),
            Route("/drives/{drive}/read/{offset}/{size}", self.read, methods=read),
            Route("/drives/{drive}/write", self.write, methods=["POST"]),
            Route("/drives/{drive}/write/{offset}", self.write, methods=["POST"]),
        ]

    async def list(self, request: Request) -> Response:
        """GET /drives/list: the caller's drives."""
        await self._streams.small_body(request.scope, request.receive)
        uuids = await self._streams.call(drives.listed, self._ctx, parameters.caller(request.scope))
        return replies.uuids(request.headers, uuids)

    async def list_standard(self, request: Request) -> Response:
        """GET /drives/list/standard: the drives that everybody may image from."""
        await self._streams.small_body(request.scope, request.receive)
        uuids = await self._streams.call(drives.listed_standard, self._ctx)
        return replies.uuids(request.headers, uuids)

    async def info_all(self, request: Request, *, full: bool = False) -> Response:
        """GET /drives/info: the caller's drives' records."""
        await self._streams.small_body(request.scope, request.receive)
        caller = parameters.caller(request.scope)
        records = await self._streams.call(drives.info_all, self._ctx, caller, full=full)
        return replies.many(request.headers, records)

    async def info_all_full(self, request: Request) -> Response:
        """GET /drives/info/full: the same, with percentages and stores."""
        return await self.info_all(request, full=True)

    async def info_standard(self, request: Request) -> Response:
        """GET /drives/info/standard: the standard drives' records."""
        await self._streams.small_body(request.scope, request.receive)
        records = await self._streams.call(
            drives.info_standard, self._ctx, parameters.caller(request.scope)
        )
        return replies.many(request.headers, records)

    async def info(self, request: Request, *, full: bool = False) -> Response:
        """GET /drives/DRIVE/info: one record."""
        await self._streams.small_body(request.scope, request.receive)
        caller, drive = parameters.caller(request.scope), parameters.drive(request.scope)
        record = await self._streams.call(drives.info, self._ctx, caller, drive, full=full)
        return replies.one(request.headers, record)

    async def info_full(self, request: Request) -> Response:
        """GET /drives/DRIVE/info/full: one record, with percentage and store."""
        return await self.info(request, full=True)

    async def create(self, request: Request) -> Response:
        """POST /drives/create: a new drive of zeros."""
        pairs = _pairs(request, await self._streams.small_body(request.scope, request.receive))
        record = await self._change(drives.create, parameters.caller(request.scope), pairs)
        return replies.one(request.headers, record)

    async def set(self, request: Request) -> Response:
        """POST /drives/DRIVE/set: change fields and size."""
        body = await self._streams.small_body(request.scope, request.receive)
        caller, drive = parameters.caller(request.scope), parameters.drive(request.scope)
        record = await self._change(drives.change, caller, drive, lambda: _pairs(request, body))
        return replies.one(request.headers, record)

    async def destroy(self, request: Request) -> Response:
        """POST /drives/DRIVE/destroy."""
        await self._streams.small_body(request.scope, request.receive)
        caller, drive = parameters.caller(request.scope), parameters.drive(request.scope)
        await self._change(drives.destroy, caller, drive)
        return replies.nothing()

    async def image(self, request: Request) -> Response:
        """POST /drives/DRIVE/image/SOURCE[/CONVERSION]: copy SOURCE onto DRIVE."""
        await self._streams.small_body(request.scope, request.receive)
        caller, drive = parameters.caller(request.scope), parameters.drive(request.scope)
        source = parameters.drive(request.scope, "source")
        async with (
            missing_first(self._ctx, self._streams, drives.require_owned, caller, drive),
            missing_first(self._ctx, self._streams, drives.require_readable, caller, source),
        ):
            conversion = _conversion(request)
        await self._change(imaging.image, caller, drive, source, conversion)
        return replies.nothing()

    async def cancel(self, request: Request) -> Response:
        """POST /drives/DRIVE/image/cancel: stop imaging of DRIVE."""
        await self._streams.small_body(request.scope, request.receive)
        caller, drive = parameters.caller(request.scope), parameters.drive(request.scope)
        await self._change(imaging.cancel, caller, drive)
        return replies.nothing()

    async def clone(self, request: Request) -> Response:
        """POST /drives/SOURCE/clone[/CONVERSION]: a new drive, imaged from SOURCE."""
        body = await self._streams.small_body(request.scope, request.receive)
        caller, source = parameters.caller(request.scope), parameters.drive(request.scope)
        async with missing_first(self._ctx, self._streams, drives.require_readable, caller, source):
            conversion, pairs = _conversion(request), _pairs(request, body)
        record = await self._change(imaging.clone, caller, source, conversion, pairs)
        return replies.one(request.headers, record)

    async def claim(self, request: Request) -> Response:
        """POST /drives/DRIVE/claim/SERVER: let SERVER hold DRIVE."""
        body = await self._streams.small_body(request.scope, request.receive)
        caller, drive = parameters.caller(request.scope), parameters.drive(request.scope)
        async with missing_first(self._ctx, self._streams, drives.require_readable, caller, drive):
            server, pairs = parameters.server(request.scope), _pairs(request, body)
        record = await self._change(claims.claim, caller, drive, server, pairs)
        return replies.one(request.headers, record)

    async def release(self, request: Request) -> Response:
        """POST /drives/DRIVE/release/SERVER: end SERVER's hold on DRIVE."""
        await self._streams.small_body(request.scope, request.receive)
        caller, drive = parameters.caller(request.scope), parameters.drive(request.scope)
        async with missing_first(self._ctx, self._streams, drives.require_readable, caller, drive):
            server = parameters.server(request.scope)
        await self._change(claims.release, caller, drive, server)
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


def _conversion(request: Request) -> Conversion:
    word = request.path_params.get("conversion")
    return Conversion.NONE if word is None else imaging.parse_conversion(word)


def _pairs(request: Request, body: bytes) -> Mapping[str, str]:
    # Everything that does not call itself JSON is KEY VALUE text: clients send any type.
    if "json" in request.headers.get("content-type", "").lower():
        return wire.parse_json(body)
    return wire.parse_text(body)
