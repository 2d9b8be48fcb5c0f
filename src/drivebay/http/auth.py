"""Who is calling: HTTP Basic, a user's uuid and API key."""

import base64
from collections.abc import Sequence
from uuid import UUID

from drivebay.errors import NotAuthenticated
from drivebay.wire import parse_uuid

# A uuid, a colon and a key are about 100 characters; nobody honest sends more than this.
_CREDENTIALS_MAX = 1024


def credentials(values: Sequence[str]) -> tuple[UUID | None, str]:
    """Return user and key from the one Authorization header; None for a user no uuid could be.

    Raises:
        NotAuthenticated: *values* of such headers are none, are several, or one malformed.
    """
    if len(values) != 1 or len(values[0]) > _CREDENTIALS_MAX:
        raise NotAuthenticated
    scheme, _, encoded = values[0].partition(" ")
    if scheme.lower() != "basic":
        raise NotAuthenticated
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError as error:  # Not ASCII, not base64, or not UTF-8 inside.
        raise NotAuthenticated from error
    user, separator, key = decoded.partition(":")
    if not separator:
        raise NotAuthenticated
    try:
        return parse_uuid(user), key
    except ValueError:
        return None, key
