"""Pieces of a drive's content: 4 MiB each, zero or not, packed where it pays, checksummed.

isal is imported by the first piece that needs it, so that other commands start quickly.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from drivebay.model import TRANSFER_MAX
from drivebay.units import KIB

PIECE = TRANSFER_MAX

# The sector of the server's cipher and the block of common file systems: shorter holes save
# nothing on either side.
HOLE = 4 * KIB

# Packing must save a tenth, or unpacking costs the server more than the bytes cost the wire.
_WORTH = 0.9
# Four samples spread over the piece: file systems mix text and packed data within 4 MiB.
_SAMPLES = 4
_SAMPLE = 16 * KIB

# Level 1 of isal packs 0.5 to 1 GB/s on one core; 31 is a 32 KiB window and a gzip frame.
_LEVEL = 1
_GZIP_FRAME = 31

_ZEROS = bytes(PIECE)
_ZERO_BLOCK = bytes(HOLE)


@dataclass(frozen=True)
class Range:
    """Where a piece lies on the drive."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """The offset behind the piece."""
        return self.offset + self.length


def ranges(offset: int, end: int) -> Iterator[Range]:
    """Yield the pieces of ``offset..end``; all but the first start on a multiple of 4 MiB."""
    while offset < end:
        stop = min(end, (offset // PIECE + 1) * PIECE)
        yield Range(offset, stop - offset)
        offset = stop


def is_zero(data: bytes) -> bool:
    """Whether *data*, at most one piece, is all zeros."""
    return data == (_ZEROS if len(data) == PIECE else _ZEROS[: len(data)])


def data_runs(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of each run of *data* outside its aligned zero blocks."""
    start = -1
    for position in range(0, len(data), HOLE):
        block = data[position : position + HOLE]
        is_hole = block == _ZERO_BLOCK or is_zero(block)
        if is_hole and start >= 0:
            yield start, position
            start = -1
        elif not is_hole and start < 0:
            start = position
    if start >= 0:
        yield start, len(data)


def packed(data: bytes) -> bytes | None:
    """Return *data* as a gzip member, or None where that would not save a tenth."""
    from isal import isal_zlib  # noqa: PLC0415 - see the module's docstring

    if len(data) > 2 * _SAMPLES * _SAMPLE:
        step = len(data) // _SAMPLES
        sample = b"".join(data[at : at + _SAMPLE] for at in range(0, step * _SAMPLES, step))
        if len(isal_zlib.compress(sample, _LEVEL, _GZIP_FRAME)) > _WORTH * len(sample):
            return None
    member = isal_zlib.compress(data, _LEVEL, _GZIP_FRAME)
    return member if len(member) <= _WORTH * len(data) else None


def checksum(data: bytes) -> int:
    """Return the CRC-32 of *data*."""
    from isal import isal_zlib  # noqa: PLC0415 - see the module's docstring

    return isal_zlib.crc32(data)
