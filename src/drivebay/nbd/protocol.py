"""The NBD protocol's server side: bytes in, events out, without sockets, threads or drives.

This is the room's face.  `Handshake` goes from the greeting to `Begin`, `Transmission` checks
requests and makes replies; the parts below it are `words` (the numbers), `events`, `options` (their
bytes), `handshake` and `requests`.
"""

from drivebay.nbd.events import Ask, Begin, End, Event, Export, Reply, StartTls, Tls
from drivebay.nbd.handshake import Handshake
from drivebay.nbd.options import export_flags
from drivebay.nbd.requests import (
    CHUNK,
    PAYLOAD_MAX_BYTES,
    REQUEST,
    SIMPLE_REPLY,
    WHOLE_MAX_BYTES,
    Refusal,
    Transmission,
    is_fatal,
)
from drivebay.nbd.words import (
    ALLOCATION_ID,
    BLOCK_MAX_BYTES,
    FLAG_DF,
    FLAG_FAST_ZERO,
    FLAG_FUA,
    FLAG_NO_HOLE,
    FLAG_REQ_ONE,
    REQUEST_MAGIC,
    Command,
    Errno,
)

__all__ = [
    "ALLOCATION_ID",
    "BLOCK_MAX_BYTES",
    "CHUNK",
    "FLAG_DF",
    "FLAG_FAST_ZERO",
    "FLAG_FUA",
    "FLAG_NO_HOLE",
    "FLAG_REQ_ONE",
    "PAYLOAD_MAX_BYTES",
    "REQUEST",
    "REQUEST_MAGIC",
    "SIMPLE_REPLY",
    "WHOLE_MAX_BYTES",
    "Ask",
    "Begin",
    "Command",
    "End",
    "Errno",
    "Event",
    "Export",
    "Handshake",
    "Refusal",
    "Reply",
    "StartTls",
    "Tls",
    "Transmission",
    "export_flags",
    "is_fatal",
]
