"""Gzip bodies: one member, checked, in pieces of bounded size."""

import itertools
from collections.abc import Iterator

from drivebay.errors import InvalidInput
from drivebay.model import TRANSFER_MAX
from drivebay.storage.member import Damaged, Unpacker, unpack_whole
from drivebay.units import KIB

# Deflate gives output at least every few hundred bytes of input once its header is over; a header
# may carry names and comments.  Past this much input without output the body is not a drive's.
_SILENT_INPUT_MAX = 64 * KIB

# What goes through isal at once, either way: it keeps copies of what it was given and makes.
_STEP = 256 * KIB

_GZIP = bytes.fromhex("1f8b08")
_RESERVED_FLAGS = 0xE0


class Inflater:
    """Inflates one gzip member; memory stays at one piece however the input is made."""

    def __init__(self, length: int = 0) -> None:
        """Start before the first byte of a body of *length* bytes, or 0 if that is not known.

        A body of known length that comes in one input is inflated at once.
        """
        self._length = length
        self._inner = Unpacker()
        self._head = b""
        self._taken = 0
        self._given = 0
        self._piece = bytearray()
        self._is_whole = False

    def pieces(self, data: memoryview) -> Iterator[bytearray]:
        """Take the next input and yield every 4 MiB of output that is not the last of the stream.

        Raises:
            InvalidInput: this is not one sound gzip member.
        """
        if len(data) == self._length and not self._taken:
            whole = _at_once(data)
            if whole is not None:
                self._check_head(data)
                self._taken, self._piece, self._is_whole = len(data), whole, True
                return
        # Apart, so that what is refused does not depend on how the input is cut.
        early = max(0, _SILENT_INPUT_MAX - self._taken)
        cuts = [0, early, *range(early + _STEP, len(data), _STEP), len(data)]
        for start, stop in itertools.pairwise(cuts):
            yield from self._pieces(data[start:stop])

    def _pieces(self, data: memoryview) -> Iterator[bytearray]:
        self._check_head(data)
        self._taken += len(data)
        if not data:
            return
        if self._is_whole or self._inner.is_over:
            raise InvalidInput(reason="bytes follow the gzip stream; send one member alone")
        more = self._inflate(data)
        while more:
            if len(self._piece) == TRANSFER_MAX:
                yield self._piece
                self._piece = bytearray()
            self._piece += more
            more = b"" if self._inner.needs_input or self._inner.is_over else self._inflate(b"")
        if self._inner.unused:
            raise InvalidInput(reason="bytes follow the gzip stream; send one member alone")
        if self._taken >= _SILENT_INPUT_MAX and not self._given:
            raise InvalidInput(reason=f"no data in the gzip stream's first {self._taken} bytes")

    def rest(self) -> bytearray:
        """Return the output that `pieces` has not yielded, once the input is over.

        Raises:
            InvalidInput: the stream is not complete.
        """
        if not (self._is_whole or self._inner.is_over):
            raise InvalidInput(reason="the gzip stream ends before its end")
        return self._piece

    def _inflate(self, data: memoryview | bytes) -> bytes:
        room = TRANSFER_MAX - len(self._piece) % TRANSFER_MAX
        try:
            more = self._inner.unpack(data, min(room, _STEP))
        except Damaged as error:
            raise InvalidInput(reason=f"the body is not a sound gzip stream: {error}") from error
        self._given += len(more)
        return more

    def _check_head(self, data: memoryview) -> None:
        if len(self._head) >= 4:
            return
        self._head += bytes(data[: 4 - len(self._head)])
        if not _GZIP.startswith(self._head[:3]):
            raise InvalidInput(reason="the body is not a gzip stream")
        if len(self._head) == 4 and self._head[3] & _RESERVED_FLAGS:
            raise InvalidInput(reason="the gzip header has reserved flags set")


def _at_once(body: memoryview) -> bytearray | None:
    """Return what *body* inflates to; None where it has to be looked at step by step."""
    if len(body) >= _SILENT_INPUT_MAX:
        try:
            is_silent = not Unpacker().unpack(body[:_SILENT_INPUT_MAX], 1)
        except Damaged:
            return None
        if is_silent:
            return None
    return unpack_whole(body, TRANSFER_MAX)
