"""What the handshake says to whoever has the socket, and what it is told about exports."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Tls(Enum):
    """How a connection that starts in plain text may go on."""

    ABSENT = "absent"
    OFFERED = "offered"
    REQUIRED = "required"


@dataclass(frozen=True)
class Export:
    """What a name that was found stands for.

    `name` is the name as asked, `size` counts bytes.
    """

    name: str
    size: int
    read_only: bool
    description: str = ""


class Reply(NamedTuple):
    """Send these bytes."""

    data: bytes


class Ask(NamedTuple):
    """Is there an export of this name?  `Handshake.answer` takes what was found."""

    name: str


class StartTls(NamedTuple):
    """Wrap the socket in TLS, and feed what comes out of it.

    The acknowledgement is a `Reply` before it.
    """


class Begin(NamedTuple):
    """Transmission begins.

    `structured` says that replies are structured; `allocation`, that `base:allocation` was chosen
    for this export, under `ALLOCATION_ID`; `rest` holds what came behind the last option.
    """

    export: Export
    structured: bool
    allocation: bool
    rest: bytes


class End(NamedTuple):
    """Close the connection, once the replies before it are sent; nothing comes after it."""

    reason: str


Event = Reply | Ask | StartTls | Begin | End
