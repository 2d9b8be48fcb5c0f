"""What a request's path says, and in which order its mistakes are told."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from starlette.types import Scope

from drivebay import wire
from drivebay.errors import DriveNotFound, InvalidInput
from drivebay.http.errors import Refusal
from drivebay.http.streams import Streams
from drivebay.service.context import Context
from drivebay.units import parse_size

_SHOWN_MAX = 64


def caller(scope: Scope) -> UUID:
    """Return the user whose credentials came with the request."""
    found: UUID = scope["drivebay.caller"]
    return found


def drive(scope: Scope, name: str = "drive") -> UUID:
    """Return the drive in the path.

    Raises:
        DriveNotFound: what stands there is no uuid.
    """
    text = scope["path_params"][name]
    try:
        return wire.parse_uuid(text)
    except ValueError as error:
        shown = re.sub(r"[^ -~]", "?", text[:_SHOWN_MAX])
        raise DriveNotFound(drive=shown) from error


def server(scope: Scope) -> UUID:
    """Return the server in the path.

    Raises:
        InvalidInput: what stands there is no uuid.
    """
    try:
        return wire.parse_uuid(scope["path_params"]["server"])
    except ValueError as error:
        raise InvalidInput(reason=f"SERVER is {error}") from error


def size(scope: Scope, name: str) -> int:
    """Return the byte count in the path.

    Raises:
        InvalidInput: what stands there is none.
    """
    try:
        return parse_size(scope["path_params"][name])
    except ValueError as error:
        raise InvalidInput(reason=f"{name}: {error}") from error


@asynccontextmanager
async def missing_first(
    ctx: Context,
    streams: Streams,
    check: Callable[[Context, UUID, UUID], None],
    user: UUID,
    uuid: UUID,
) -> AsyncIterator[None]:
    """Let a drive that is not the *user*'s be missing, whatever else is wrong with the call."""
    try:
        yield
    except (InvalidInput, Refusal):
        await streams.call(check, ctx, user, uuid)
        raise
