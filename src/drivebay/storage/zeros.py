"""Finding what need not be stored: whole sectors of zeros."""

from collections.abc import Iterator

from drivebay.storage.volume import Extent
from drivebay.units import round_up

SECTOR = 4096
"""What becomes a hole is a multiple of this, and so are file systems' blocks, mostly."""

_ZEROS = bytes(SECTOR)


def has_any(offset: int, data: memoryview) -> bool:
    """Whether `runs` may find a hole: a whole sector begins with zero."""
    first = -offset % SECTOR
    if len(data) - first < SECTOR:
        return False
    if len(data) == SECTOR:
        return data[0] == 0
    last = first + (len(data) - first) // SECTOR * SECTOR
    return 0 in bytes(data[first:last:SECTOR])


def runs(offset: int, data: memoryview) -> Iterator[Extent]:
    """Yield *data*, which stands at *offset* of a volume, as extents in order.

    A hole is a run of whole zero sectors, aligned on the volume; everything else is data.
    """
    end = offset + len(data)
    start = offset
    zero = False
    for sector, is_zero in _sectors(offset, data):
        if is_zero != zero:
            if sector > start:
                yield Extent(start, sector - start, not zero)
            start, zero = sector, is_zero
    if end > start:
        yield Extent(start, end - start, not zero)


def _sectors(offset: int, data: memoryview) -> Iterator[tuple[int, bool]]:
    """Yield where whole zero sectors are, and where something else follows them."""
    first = round_up(offset, SECTOR) - offset
    last = first + (len(data) - first) // SECTOR * SECTOR
    # Python compares views byte by byte, so look at one byte a sector first: only a sector that
    # begins with zero can be all zeros.
    heads = bytes(data[first:last:SECTOR])
    index = heads.find(0)
    expected = -1
    while index >= 0:
        at = first + index * SECTOR
        if bytes(data[at : at + SECTOR]) == _ZEROS:
            if 0 <= expected != index:
                yield offset + first + expected * SECTOR, False
            yield offset + at, True
            expected = index + 1
        index = heads.find(0, index + 1)
    if expected >= 0 and first + expected * SECTOR < len(data):
        yield offset + first + expected * SECTOR, False
