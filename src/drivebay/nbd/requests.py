"""The server's side of NBD's transmission phase: what a request may ask for, and bytes of replies.

A request is 28 bytes, `REQUEST.unpack_from`; `length` bytes of data follow each WRITE, refused or
not, and must be taken off the connection.  This is done for every request, so it is kept small: to
unpack and check one costs about half a microsecond.
"""

import struct
from collections.abc import Iterable, Iterator
from itertools import islice

from drivebay.nbd.events import Export
from drivebay.nbd.words import (
    ALLOCATION_ID,
    BLOCK_MAX_BYTES,
    CHUNK_DONE,
    CHUNK_MAGIC,
    FLAG_DF,
    FLAG_FAST_ZERO,
    FLAG_FUA,
    FLAG_NO_HOLE,
    FLAG_REQ_ONE,
    REQUEST_MAGIC,
    SIMPLE_REPLY_MAGIC,
    STATE_DATA,
    STATE_HOLE,
    STATE_ZERO,
    Chunk,
    Command,
    Errno,
    to_string,
)

REQUEST = struct.Struct(">IHHQQI")
SIMPLE_REPLY = struct.Struct(">IIQ")
CHUNK = struct.Struct(">IHHQI")

# A refused WRITE of up to so many bytes is taken off the connection; a longer one ends it.  The
# protocol wants at least 32 MiB to pass as no attack.
PAYLOAD_MAX_BYTES = 64 * 1024 * 1024

# A READ with the flag DF is refused above it, as the protocol lets a server do above 64 KiB: its data
# is sent in one chunk, and this much is read at a time.
WHOLE_MAX_BYTES = 4 * 1024 * 1024

# 128 KiB of them; a client asks again for what was left out.
EXTENTS_MAX = 16 * 1024

_LENGTH_MAX = 2**32 - 1

_DATA_CHUNK = struct.Struct(">IHHQIQ")
_HOLE_CHUNK = struct.Struct(">IHHQIQI")
_ERROR = struct.Struct(">IH")
_OFFSET = struct.Struct(">Q")
_STATUS_CHUNK = struct.Struct(">IHHQII")
_EXTENT = struct.Struct(">II")

# The flags that each command takes, besides FUA, which is valid for all.
_FLAGS: dict[int, int] = {
    Command.READ: FLAG_DF,
    Command.WRITE: 0,
    Command.FLUSH: 0,
    Command.TRIM: 0,
    Command.WRITE_ZEROES: FLAG_NO_HOLE | FLAG_FAST_ZERO,
    Command.BLOCK_STATUS: FLAG_REQ_ONE,
}
_ALL_FLAGS = 0xFFFF

# Flags that are valid and may still not be granted.
_MANNERS = FLAG_DF | FLAG_FAST_ZERO

# The longest range of each command that has one.
_LENGTHS: dict[int, int] = {
    Command.READ: BLOCK_MAX_BYTES,
    Command.WRITE: BLOCK_MAX_BYTES,
    Command.TRIM: _LENGTH_MAX,
    Command.WRITE_ZEROES: _LENGTH_MAX,
    Command.BLOCK_STATUS: _LENGTH_MAX,
}

_CHANGES = frozenset({Command.WRITE, Command.TRIM, Command.WRITE_ZEROES})

# Past the end, these have no space; TRIM, READ and BLOCK_STATUS are invalid there.
_GROWING = frozenset({Command.WRITE, Command.WRITE_ZEROES})

# Plain numbers, since an enumeration's members cost a look-up and a conversion for each request.
_WRITE = int(Command.WRITE)
_NONE = int(Chunk.NONE)
_OFFSET_DATA = int(Chunk.OFFSET_DATA)

Refusal = tuple[int, str]


def is_fatal(magic: int, command: int, length: int) -> bool:
    """Say whether the connection must end: no request begins here, or its data is past skipping."""
    return magic != REQUEST_MAGIC or (command == _WRITE and length > PAYLOAD_MAX_BYTES)


class Transmission:
    """What one connection's requests may ask for, and the bytes of the replies to them.

    `structured` says whether replies are made of chunks.
    """

    def __init__(self, export: Export, *, structured: bool, allocation: bool) -> None:
        """Take what the handshake's `Begin` says."""
        self._size = export.size
        self._read_only = export.read_only
        self.structured = structured
        self._allocation = allocation
        # By command: the flags that need a closer look, and the longest length that does not.
        self._plain: dict[int, tuple[int, int]] = {
            command: (_ALL_FLAGS & ~(self._known_flags(command) & ~_MANNERS), longest)
            for command, longest in _LENGTHS.items()
            if self._barrier(command) is None
        }

    def refusal(self, flags: int, command: int, offset: int, length: int) -> Refusal | None:
        """Return the error to answer a request with, or None if it may be carried out.

        A request for no bytes, which the protocol leaves open, is refused, so that nothing below
        sees an empty range.  TRIM, WRITE_ZEROES and BLOCK_STATUS, which carry no data, may be as
        long as the export; READ and WRITE, 32 MiB.  DISC has no reply and is never refused.
        """
        plain = self._plain.get(command)
        if (
            plain is not None
            and not flags & plain[0]
            and 0 < length <= plain[1]
            and offset + length <= self._size
        ):
            return None
        return self._closer_look(flags, command, offset, length)

    def done(self, cookie: int) -> bytes:
        """Return the reply to what succeeded and has nothing to tell.

        It also ends the chunks of a READ, none of which was the last.
        """
        if self.structured:
            return CHUNK.pack(CHUNK_MAGIC, CHUNK_DONE, _NONE, cookie, 0)
        return SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, 0, cookie)

    def failed(
        self, cookie: int, number: int, message: str = "", *, offset: int | None = None
    ) -> bytes:
        """Return the reply to what failed, at *offset* of the export if that is known.

        Structured, it may follow chunks of data, and ends the reply; *offset* is then inside the
        request, and data that was sent up to it is good.  A simple reply has only the number.
        """
        if not self.structured:
            return SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, number, cookie)
        text = to_string(message)
        payload = _ERROR.pack(number, len(text)) + text
        kind = Chunk.ERROR
        if offset is not None:
            payload += _OFFSET.pack(offset)
            kind = Chunk.ERROR_OFFSET
        return CHUNK.pack(CHUNK_MAGIC, CHUNK_DONE, kind, cookie, len(payload)) + payload

    def data_header(self, cookie: int, offset: int, length: int, *, last: bool = True) -> bytes:
        """Return what goes before *length* bytes of a READ's data, at least one.

        A chunk that is not the *last* is followed by others, `done` or `failed`.  A simple reply is
        one piece, so that the data is whole and there is no failing after it.
        """
        if self.structured:
            return _DATA_CHUNK.pack(CHUNK_MAGIC, last, _OFFSET_DATA, cookie, length + 8, offset)
        assert last, "a simple reply is not cut into pieces"
        return SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, 0, cookie)

    def hole(self, cookie: int, offset: int, length: int, *, last: bool = True) -> bytes:
        """Return the chunk that says that *length* bytes of a READ, at least one, are zeros.

        Only structured replies have it, and not where the request's flags have `FLAG_DF` and there
        is data too.
        """
        assert self.structured, "a simple reply has no holes"
        return _HOLE_CHUNK.pack(CHUNK_MAGIC, last, Chunk.OFFSET_HOLE, cookie, 12, offset, length)

    def block_status(
        self,
        cookie: int,
        extents: Iterable[tuple[int, bool]],
        *,
        length: int = _LENGTH_MAX,
        only_one: bool = False,
    ) -> bytes:
        """Return the reply to a BLOCK_STATUS for *length* bytes.

        *extents* are the lengths of consecutive pieces from the request's offset on, and whether
        there is data in them; together they have a byte at least.  No more of them are taken than
        the reply has room for: what covers *length*, for *only_one* (the request's flags have
        `FLAG_REQ_ONE`) those that make one, and `EXTENTS_MAX` at most.
        """
        assert self._allocation, "BLOCK_STATUS without a context is refused"
        count_max = 1 if only_one else EXTENTS_MAX
        pairs = b"".join(islice(_descriptors(extents, length), count_max))
        assert pairs, "a reply describes one byte at least"
        head = _STATUS_CHUNK.pack(
            CHUNK_MAGIC, CHUNK_DONE, Chunk.BLOCK_STATUS, cookie, 4 + len(pairs), ALLOCATION_ID
        )
        return head + pairs

    def _known_flags(self, command: int) -> int:
        known = _FLAGS[command] | FLAG_FUA
        return known if self.structured else known & ~FLAG_DF

    def _barrier(self, command: int) -> Refusal | None:
        """Return why a known command is not for this connection, whatever its range."""
        if command in _CHANGES and self._read_only:
            return Errno.EPERM, "the export is read-only"
        if command == Command.BLOCK_STATUS and not self._allocation:
            return Errno.EINVAL, "base:allocation was not negotiated"
        return None

    def _closer_look(self, flags: int, command: int, offset: int, length: int) -> Refusal | None:
        """Say what is wrong with a request that is not plainly right."""
        if command == Command.DISC:
            return None
        if command not in _FLAGS:
            return Errno.EINVAL, "the command is not supported"
        if flags & ~self._known_flags(command):
            return Errno.EINVAL, "a flag is not supported for this command"
        barrier = self._barrier(command)
        if barrier is not None:
            return barrier
        if command == Command.FLUSH:
            return (Errno.EINVAL, "a flush takes no range") if offset or length else None
        return self._range_refusal(command, offset, length) or _manner_refusal(flags, length)

    def _range_refusal(self, command: int, offset: int, length: int) -> Refusal | None:
        if length == 0:
            return Errno.EINVAL, "the length is zero"
        if length > _LENGTHS[command]:
            return Errno.EINVAL, "the length is over 32 MiB"
        if offset + length > self._size:
            number = Errno.ENOSPC if command in _GROWING else Errno.EINVAL
            return number, "the range reaches past the end of the export"
        return None


def _manner_refusal(flags: int, length: int) -> Refusal | None:
    """Refuse what its flags want done as it cannot be."""
    if flags & FLAG_FAST_ZERO and flags & FLAG_NO_HOLE:
        return Errno.ENOTSUP, "zeroing is fast only where it makes holes"
    if flags & FLAG_DF and length > WHOLE_MAX_BYTES:
        return Errno.EOVERFLOW, "more than 4 MiB are not sent in one piece"
    return None


def _descriptors(extents: Iterable[tuple[int, bool]], length: int) -> Iterator[bytes]:
    """Yield what *extents* say about the first *length* bytes, neighbours of one kind as one."""
    state, run, left = STATE_DATA, 0, length
    for size, is_data in extents:
        piece = min(size, left)
        found = STATE_DATA if is_data else STATE_HOLE | STATE_ZERO
        if run and piece and found != state:
            yield _EXTENT.pack(run, state)
            run = 0
        if piece:
            state = found
        run += piece
        left -= piece
        if not left:
            break
    if run:
        yield _EXTENT.pack(run, state)
