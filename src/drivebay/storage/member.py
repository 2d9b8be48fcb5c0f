"""One gzip member, unpacked from input that may be cut anywhere, or at once."""

import ctypes
from typing import cast

import deflate
from isal import igzip_lib, isal_zlib

from drivebay.units import MIB

HEADER_MAX = 1 * MIB
"""The longest header; it holds a file's name, a comment and up to 64 KiB of extra data."""

# RFC 1952, 2.3: the fixed part of a header, and the flags of the parts that may follow it.
_MAGIC = bytes.fromhex("1f8b08")
_FIXED = 10
_FTEXT, _FHCRC, _FEXTRA, _FNAME, _FCOMMENT = 1, 2, 4, 8, 16
_FOOTER = 8

# isal's stubs declare the class as an instance.
_IsalError = cast("type[Exception]", igzip_lib.IsalError)

# glibc's is four times as fast as `bytes.find` and needs no copy.
_memmem = ctypes.CDLL(None).memmem
_memmem.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)
_memmem.restype = ctypes.c_void_p


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


def unpack_whole(data: memoryview, length_max: int) -> bytearray | None:
    """Return what *data* unpacks to, or None where it is for `Unpacker` to say what it is.

    A sound member of 1 to *length_max* bytes with nothing behind it takes two thirds of the time
    that it takes there: libdeflate has all of the input and all of the room, and never stops.
    """
    # libdeflate does not check a header's checksum; the reserved flags it would refuse, too.
    is_plain = (
        len(data) > _FIXED + _FOOTER
        and data[:3] == _MAGIC
        and not data[3] & ~(_FTEXT | _FEXTRA | _FNAME | _FCOMMENT)
    )
    length = int.from_bytes(data[-4:], "little")
    if not is_plain or not 1 <= length <= length_max:
        return None
    try:
        plain = deflate.gzip_decompress(data, length)
    except deflate.DeflateError:
        return None
    # Nor does it tell what follows the member.  But it has found the member's footer: where that
    # occurs once, and at the end, nothing follows.
    footer = isal_zlib.crc32(plain).to_bytes(4, "little") + len(plain).to_bytes(4, "little")
    is_alone = data[-_FOOTER:] == footer and not _occurs(footer, data[:-1])
    return plain if is_alone else None


def _occurs(part: bytes, data: memoryview) -> bool:
    if data.readonly:
        return part in bytes(data)
    address = (ctypes.c_char * len(data)).from_buffer(data)
    return _memmem(address, len(data), part, len(part)) is not None
