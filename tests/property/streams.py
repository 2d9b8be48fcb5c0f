"""What gzip streams hold, found out by Python's own zlib instead of the service's isal."""

import zlib

MAGIC = b"\x1f\x8b"
_HEAD, _TAIL = 10, 8


def packed(data: bytes, level: int = 1) -> bytes:
    """Return *data* as one gzip member whose header has no optional parts."""
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def member(stream: bytes) -> tuple[bytes, bytes | None]:
    """Return what can be unpacked of the first member, and what follows it; None if it is unsound.

    The header must be as `packed` makes it.
    """
    if not stream.startswith(MAGIC + b"\x08\0"):
        return b"", None
    inflater = zlib.decompressobj(-15)
    data = bytearray()
    for at in range(_HEAD, len(stream), 4096):
        try:
            data += inflater.decompress(stream[at : at + 4096])
        except zlib.error:
            return bytes(data), None
        if inflater.eof:
            behind = inflater.unused_data + stream[at + 4096 :]
            expected = zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")
            return bytes(data), behind[_TAIL:] if behind[:_TAIL] == expected else None
    return bytes(data), None


def unpacked(stream: bytes) -> tuple[bytes, bool]:
    """Return what imaging with gunzip makes of *stream*, and whether it is sound.

    Several members may follow each other; what follows the last is padding.
    """
    data, rest = member(stream)
    while rest is not None and rest.startswith(MAGIC):
        more, rest = member(rest)
        data += more
    return data, rest is not None
