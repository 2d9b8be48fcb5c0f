"""What recorders write into each unit of a drive, and how they know it again."""

import struct
from dataclasses import dataclass
from random import Random
from zlib import crc32

from linear.history import ZERO, Tag

_MARK = struct.Struct(">QQ")


@dataclass(frozen=True)
class Layout:
    """How a drive is parted into units, and which ranges of them clients use, by their weights.

    A unit holds the number of the write that it comes from, and its own, again and again: what was
    torn inside a unit, or came to the wrong place, is no tag that was ever written.
    """

    ranges: dict[tuple[int, int], int]
    """First unit and count."""

    unit: int = 4096
    base: int = 0
    """Where unit 0 begins in the drive."""

    def choose(self, random: Random) -> tuple[int, int]:
        ((first, count),) = random.choices(list(self.ranges), list(self.ranges.values()))
        return first, count

    def place(self, first: int, count: int) -> tuple[int, int]:
        """Return offset and length in bytes."""
        return self.base + first * self.unit, count * self.unit

    def content(self, tag: int, first: int, count: int) -> bytes:
        times = self.unit // _MARK.size
        return b"".join(_MARK.pack(tag, at) * times for at in range(first, first + count))

    def tags(self, data: bytes | bytearray, first: int) -> tuple[Tag, ...]:
        """Return what each unit of *data* holds, which begins with unit *first*."""
        starts = range(0, len(data), self.unit)
        units = [bytes(data[start : start + self.unit]) for start in starts]
        return tuple(self._tag(unit, first + index) for index, unit in enumerate(units))

    def _tag(self, unit: bytes, number: int) -> Tag:
        if not any(unit):
            return ZERO
        tag, at = _MARK.unpack_from(unit)
        is_whole = unit == unit[: _MARK.size] * (self.unit // _MARK.size)
        return tag if is_whole and at == number else f"rubbish {crc32(unit):08x}"
