"""Gzip members with every part of the header that there is."""

import struct
import zlib

FTEXT, FHCRC, FEXTRA, FNAME, FCOMMENT = 1, 2, 4, 8, 16


def member(
    data: bytes,
    *,
    level: int = 6,
    name: bytes | None = None,
    extra: bytes | None = None,
    comment: bytes | None = None,
    flags: int = 0,
) -> bytes:
    """Return *data* as one gzip member; *flags* are set beside those of the parts given."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    packed = packer.compress(data) + packer.flush()
    head = b""
    for flag, part in (
        (FEXTRA, None if extra is None else struct.pack("<H", len(extra)) + extra),
        (FNAME, None if name is None else name + b"\0"),
        (FCOMMENT, None if comment is None else comment + b"\0"),
    ):
        if part is not None:
            flags |= flag
            head += part
    head = bytes([0x1F, 0x8B, 8, flags, 1, 2, 3, 4, 2, 255]) + head
    if flags & FHCRC:
        head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    return head + packed + struct.pack("<II", zlib.crc32(data), len(data) % 2**32)


def member_of_length(length: int, data: bytes) -> bytes:
    """Return *data* as a gzip member of exactly *length* bytes."""
    return member(data, name=b"n" * (length - len(member(data, name=b""))))
