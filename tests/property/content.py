"""A drive's bytes kept the plainest way: a dictionary of the sectors that are not all zeros."""

from collections.abc import Iterator

SECTOR = 4096
_ZEROS = bytes(SECTOR)


class Content:
    """What a drive of *size* bytes must hold, and which of its sectors may take room.

    A sector may take room once a part of it was written, until it is written whole with zeros.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.sectors: dict[int, bytes] = {}
        self.touched: set[int] = set()

    def read(self, offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= self.size
        return b"".join(
            self.sectors.get(number, _ZEROS)[start:end]
            for number, start, end in _parts(offset, length)
        )

    def head(self, length: int) -> bytes:
        return self.read(0, min(length, self.size))

    def all(self) -> bytes:
        return self.read(0, self.size)

    def write(self, offset: int, data: bytes) -> None:
        assert 0 <= offset <= offset + len(data) <= self.size
        done = 0
        for number, start, end in _parts(offset, len(data)):
            piece = data[done : done + end - start]
            before = self.sectors.get(number, _ZEROS)
            self._put(number, before[:start] + piece + before[end:], whole=len(piece) == SECTOR)
            done += len(piece)

    def _put(self, number: int, sector: bytes, *, whole: bool) -> None:
        is_zero = sector == _ZEROS
        if is_zero:
            self.sectors.pop(number, None)
        else:
            self.sectors[number] = sector
        if is_zero and whole:
            self.touched.discard(number)
        else:
            self.touched.add(number)

    def resize(self, size: int) -> None:
        if size < self.size:
            first_gone = -(-size // SECTOR)
            self.sectors = {n: data for n, data in self.sectors.items() if n < first_gone}
            self.touched = {n for n in self.touched if n < first_gone}
            kept = size % SECTOR
            if kept and size // SECTOR in self.sectors:
                last = self.sectors[size // SECTOR][:kept].ljust(SECTOR, b"\0")
                self._put(size // SECTOR, last, whole=False)
        self.size = size

    def adopt(self, observed: bytes) -> None:
        """Take over what was seen where no rule says exactly what must be there."""
        touched = set(self.touched)
        self.write(0, observed)
        self.touched |= touched


def _parts(offset: int, length: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number of each sector in the range, and where in it the range begins and ends."""
    end = offset + length
    while offset < end:
        number, start = divmod(offset, SECTOR)
        stop = min(SECTOR, start + end - offset)
        yield number, start, stop
        offset += stop - start
