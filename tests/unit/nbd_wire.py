"""A client's side of the NBD wire, in numbers of its own, and a server that knows three exports."""

import struct
from typing import NamedTuple

from drivebay.nbd.protocol import Ask, Begin, Event, Export, Handshake, Reply, Tls

DISK = Export("disk", 123_456_789_012, read_only=False, description="the drive")
LOCKED = Export("locked", 4097, read_only=True)
FOREIGN = Export("größe-鍵", 0, read_only=False)
EXPORTS = {export.name: export for export in (DISK, LOCKED, FOREIGN)}

EXPORT_NAME, ABORT, LIST, PEEK, STARTTLS, INFO, GO, STRUCTURED = range(1, 9)
LIST_CONTEXTS, SET_CONTEXTS, EXTENDED = range(9, 12)

ACK, SERVER, INFORMATION, CONTEXT = range(1, 5)
UNSUP, POLICY, INVALID, _, TLS_REQD, UNKNOWN, SHUTDOWN, _, TOO_BIG = range(0x8000_0001, 0x8000_000A)

FIXED = b"\0\0\0\1"
FIXED_WITHOUT_ZEROES = b"\0\0\0\3"


def option(number: int, data: bytes = b"") -> bytes:
    return b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data


def header(number: int, length: int) -> bytes:
    return b"IHAVEOPT" + struct.pack(">II", number, length)


def string(text: str | bytes) -> bytes:
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack(">I", len(data)) + data


def info(name: str | bytes, *kinds: int) -> bytes:
    return string(name) + struct.pack(f">H{len(kinds)}H", len(kinds), *kinds)


def contexts(name: str | bytes, *queries: str | bytes) -> bytes:
    return string(name) + struct.pack(">I", len(queries)) + b"".join(map(string, queries))


class Answer(NamedTuple):
    """One reply to an option, taken apart."""

    option: int
    kind: int
    data: bytes


def answers(data: bytes) -> list[Answer]:
    """Take apart a run of replies to options."""
    found = []
    while data:
        magic, number, kind, length = struct.unpack_from(">QIII", data)
        assert magic == 0x3E889045565A9
        assert len(data) >= 20 + length
        found.append(Answer(number, kind, data[20 : 20 + length]))
        data = data[20 + length :]
    return found


def feed(handshake: Handshake, data: bytes) -> list[Event]:
    """Feed *data*, answer what is asked from `EXPORTS`, and return all events."""
    seen: list[Event] = []
    events = handshake.receive(data)
    while events:
        seen += events
        last = events[-1]
        events = handshake.answer(EXPORTS.get(last.name)) if isinstance(last, Ask) else []
    return seen


def after(*sent: bytes, tls: Tls = Tls.ABSENT, flags: bytes = FIXED_WITHOUT_ZEROES) -> Handshake:
    """Return a handshake in which *sent*, and before it *flags*, has come."""
    handshake = Handshake(tls)
    feed(handshake, flags)
    for data in sent:
        feed(handshake, data)
    return handshake


def ask(handshake: Handshake, number: int, data: bytes = b"") -> list[tuple[int, bytes]]:
    """Send one option, and return the kinds and data of the replies to it."""
    events = feed(handshake, option(number, data))
    found = answers(b"".join(event.data for event in events if isinstance(event, Reply)))
    assert {answer.option for answer in found} <= {number}
    return [(answer.kind, answer.data) for answer in found]


def kinds(handshake: Handshake, number: int, data: bytes = b"") -> list[int]:
    """Send one option, and return the kinds of the replies to it."""
    return [kind for kind, _ in ask(handshake, number, data)]


def begin(events: list[Event]) -> Begin:
    """Return the last event, which is a `Begin`."""
    last = events[-1]
    assert isinstance(last, Begin)
    return last
