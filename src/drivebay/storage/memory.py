"""Volumes in memory: a real store for tests and trials, gone with the process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

from drivebay.errors import StorageFailed, StoreFull
from drivebay.storage import zeros
from drivebay.storage.idle import KEPT_S
from drivebay.storage.volume import Decode, Extent, Volume, WouldWait, decoded
from drivebay.storage.zeros import SECTOR
from drivebay.units import OFFSET_MAX, round_up


class _Ranges:
    """Shared and exclusive holders of byte ranges."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: list[tuple[int, int, bool]] = []

    @contextmanager
    def hold(self, start: int, end: int, *, shared: bool, wait_s: float | None) -> Iterator[None]:
        mine = (start, end, shared)
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_free(mine), wait_s):
                raise WouldWait
            self._held.append(mine)
        try:
            yield
        finally:
            with self._changed:
                self._held.remove(mine)
                self._changed.notify_all()

    def _is_free(self, wanted: tuple[int, int, bool]) -> bool:
        return not any(_excludes(wanted, held) for held in self._held)


def _excludes(one: tuple[int, int, bool], other: tuple[int, int, bool]) -> bool:
    return one[0] < other[1] and other[0] < one[1] and not (one[2] and other[2])


@dataclass
class _Bytes:
    """What the open objects of one volume share: its size and the sectors that are data."""

    size: int
    sectors: dict[int, bytearray] = field(default_factory=dict)
    ranges: _Ranges = field(default_factory=_Ranges)
    lock: threading.Lock = field(default_factory=threading.Lock)


class MemoryVolume:
    """One open volume; see `Volume` for what the calls promise."""

    def __init__(self, store: "MemoryStore", content: _Bytes) -> None:
        """Work on *content*, which other objects may share."""
        self._store = store
        self._content = content

    @property
    def size(self) -> int:
        return self._content.size

    def pread(self, offset: int, buffer: memoryview) -> None:
        self._require_inside(offset, len(buffer))
        with self._content.lock:
            for at, length, sector in _pieces(offset, len(buffer)):
                start = at % SECTOR
                held = self._content.sectors.get(sector)
                source = bytes(length) if held is None else held[start : start + length]
                buffer[at - offset : at - offset + length] = source

    def pread_now(self, offset: int, buffer: memoryview) -> bool:
        self.pread(offset, buffer)
        return True

    def fetch_now(self, offset: int, buffer: memoryview) -> Decode | None:
        return decoded if self.pread_now(offset, buffer) else None

    def pwrite(self, offset: int, data: memoryview) -> None:
        self._require_inside(offset, len(data))
        with self._content.lock:
            for run in zeros.runs(offset, data):
                if run.is_data:
                    self._require_room(run)
                    self._put(run.offset, data[run.offset - offset : run.end - offset])
                else:
                    self._drop(run.offset, run.length)

    def zero(self, offset: int, length: int) -> None:
        self._require_inside(offset, length)
        with self._content.lock:
            self._drop(offset, length)

    def reserve(self, offset: int, length: int) -> None:
        self._require_inside(offset, length)

    def share(self, source: Volume, offset: int, length: int) -> bool:
        del source
        self._require_inside(offset, length)
        return False

    def flush(self) -> None:
        """There is nothing that could be more durable."""

    def resize(self, size: int) -> None:
        with self._content.lock:
            if size < self._content.size:
                self._drop(size, round_up(self._content.size, SECTOR) - size)
            self._content.size = size

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        self._require_inside(offset, length)
        start, is_data = offset, False
        for at, _, sector in _pieces(offset, length):
            held = sector in self._content.sectors
            if held != is_data:
                if at > start:
                    yield Extent(start, at - start, is_data)
                start, is_data = at, held
        if offset + length > start:
            yield Extent(start, offset + length - start, is_data)

    def allocated(self) -> int:
        return len(self._content.sectors) * SECTOR

    @contextmanager
    def locked(
        self, offset: int, length: int, *, shared: bool, wait_s: float | None = None
    ) -> Iterator[None]:
        self._require_inside(offset, length)
        if length == 0:
            yield
            return
        ranges = self._content.ranges
        with ranges.hold(offset, offset + length, shared=shared, wait_s=wait_s):
            yield

    @contextmanager
    def locked_whole(self, *, shared: bool, wait_s: float | None = None) -> Iterator[None]:
        with self._content.ranges.hold(0, OFFSET_MAX, shared=shared, wait_s=wait_s):
            yield

    def close(self) -> None:
        """There is nothing to give back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_inside(self, offset: int, length: int) -> None:
        assert offset >= 0, "an offset below zero"
        assert 0 <= length <= self.size - offset, "a range past the volume's end"

    def _require_room(self, run: Extent) -> None:
        pieces = _pieces(run.offset, run.length)
        more = sum(sector not in self._content.sectors for _, _, sector in pieces)
        if more:
            self._store.require_room(more * SECTOR)

    def _put(self, offset: int, data: memoryview) -> None:
        for at, length, sector in _pieces(offset, len(data)):
            start = at % SECTOR
            held = self._content.sectors.setdefault(sector, bytearray(SECTOR))
            held[start : start + length] = data[at - offset : at - offset + length]

    def _drop(self, offset: int, length: int) -> None:
        for at, piece, sector in _pieces(offset, length):
            if piece == SECTOR:
                self._content.sectors.pop(sector, None)
            elif (held := self._content.sectors.get(sector)) is not None:
                start = at % SECTOR
                held[start : start + piece] = bytes(piece)


def _pieces(offset: int, length: int) -> Iterator[tuple[int, int, int]]:
    """Yield offset, length and sector number of the range's part of each sector."""
    end = offset + length
    while offset < end:
        sector = offset // SECTOR
        piece = min(end, (sector + 1) * SECTOR) - offset
        yield offset, piece, sector
        offset += piece


class MemoryStore:
    """Volumes in a dictionary; see `Store` for what the calls promise."""

    def __init__(self, name: str, domain: str, *, capacity: int = 2**62) -> None:
        """Hold up to *capacity* bytes of data."""
        self._name = name
        self._domain = domain
        self._capacity = capacity
        self._volumes: dict[UUID, _Bytes] = {}

    @property
    def name(self) -> str:
        return self._name

    @property
    def domain(self) -> str:
        return self._domain

    def is_reachable(self) -> bool:
        return True

    def has(self, uuid: UUID, size: int = 0) -> bool:
        return uuid in self._volumes and self._volumes[uuid].size >= size

    def create(self, uuid: UUID, size: int) -> None:
        if uuid in self._volumes:
            raise StorageFailed(operation="create the volume")
        self._volumes[uuid] = _Bytes(size)

    def open(self, uuid: UUID, *, now: bool = False) -> MemoryVolume:
        del now
        content = self._volumes.get(uuid)
        if content is None:
            raise StorageFailed(operation="open the volume")
        return MemoryVolume(self, content)

    def destroy(self, uuid: UUID) -> None:
        self._volumes.pop(uuid, None)

    def volumes(self) -> Iterator[UUID]:
        yield from list(self._volumes)

    def free(self) -> int:
        taken = sum(len(content.sectors) for content in self._volumes.values())
        return self._capacity - taken * SECTOR

    def require_room(self, length: int) -> None:
        """Raise StoreFull unless *length* more bytes fit."""
        if length > self.free():
            raise StoreFull(store=self._name)

    def close_idle(self, *, unused_s: float = KEPT_S) -> None:
        """Nothing is kept open."""
        del unused_s
