"""One gzip member, unpacked by isal from input that may be cut anywhere."""

from typing import cast

from isal import igzip_lib

from drivebay.units import MIB

HEADER_MAX = 1 * MIB
"""The longest header; it holds a file's name, a comment and up to 64 KiB of extra data."""

# RFC 1952, 2.3: the fixed part of a header, and the flags of the parts that may follow it.
_FIXED = 10
_FHCRC, _FEXTRA, _FNAME, _FCOMMENT = 2, 4, 8, 16

# isal's stubs declare the class as an instance.
_IsalError = cast("type[Exception]", igzip_lib.IsalError)


class Damaged(Exception):
    """The input is not a sound gzip member."""


class Unpacker:
    """Takes the input of one member and gives its output.

    isal 1.9.1 refuses a sound header of several parts (a name and a comment, or a checksum) when it
    comes in more than one input, so the header is kept back until it is whole.
    """

    def __init__(self) -> None:
        """Start before the first byte."""
        self._inner = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        self._header: bytearray | None = bytearray()

    @property
    def is_over(self) -> bool:
        """Whether the member has come to its end."""
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        """Whether there is no more output without more input."""
        return self._header is not None or self._inner.needs_input

    @property
    def unused(self) -> bytes:
        """The input behind the member's end."""
        return self._inner.unused_data

    def unpack(self, data: bytes | memoryview, length_max: int) -> bytes:
        """Take *data*, and return at most *length_max* bytes of output.

        Raises:
            Damaged: this is not one sound gzip member.
        """
        if self._header is not None:
            self._header += data
            if not _is_whole(self._header):
                if len(self._header) > HEADER_MAX:
                    raise Damaged(f"its header is longer than {HEADER_MAX} bytes")
                return b""
            data, self._header = bytes(self._header), None
        try:
            return self._inner.decompress(data, length_max)
        except (_IsalError, EOFError) as error:
            raise Damaged(str(error)) from error


def _is_whole(start: bytearray) -> bool:
    """Whether *start* has a member's header in it; one that is not sound is for isal to refuse."""
    if len(start) < _FIXED:
        return False
    flags, end = start[3], _FIXED
    if flags & _FEXTRA:
        end += 2 + int.from_bytes(start[end : end + 2], "little")
    for flag in (_FNAME, _FCOMMENT):
        if flags & flag and end <= len(start):
            zero = start.find(0, end)
            end = len(start) + 1 if zero < 0 else zero + 1
    if flags & _FHCRC:
        end += 2
    return end <= len(start)
