"""Copying volumes: as they are, into a gzip stream, out of one.  Holes stay holes.

Each copy calls *progress* with the bytes of the source that are done, after every piece of at most
4 MiB and at least once; what it raises ends the copy.  Callers flush.
"""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TypeVar

from isal import isal_zlib

from drivebay.errors import DestinationTooSmall, InvalidInput
from drivebay.storage.member import Damaged, Unpacker
from drivebay.storage.volume import Extent, Volume
from drivebay.storage.zeros import SECTOR
from drivebay.units import KIB, MIB, round_up

PIECE = 4 * MIB

# What is read, decrypted, encrypted and written at once: it stays in the core's own cache.
_STEP = 1 * MIB

# isal's levels go from 0 to 3; level 1 packs disk images within a few percent of the higher ones
# at twice their speed.
_LEVEL = 1
_GZIP_WBITS = 31

# RFC 1952: the identification and deflate, the one method there is.
_MEMBER_MAGIC = bytes.fromhex("1f8b08")

# What follows a member is copied when it ends, so the time that many tiny members take grows with
# this: 4 MiB of members of 20 bytes took 20 seconds in one part, and 1 in parts of this size.
_PART = 64 * KIB

Progress = Callable[[int], None]

Lane = tuple[Volume, Volume]
"""A source and a destination for one thread."""

T = TypeVar("T")


def copy_raw(
    source: Volume, destination: Volume, lanes: Sequence[Lane], *, start: int, progress: Progress
) -> None:
    """Copy the bytes of *source* from *start* on to the same place in *destination*.

    *lanes* are further objects of the two volumes; each serves a thread that copies, this one none.

    Raises:
        DestinationTooSmall: it is shorter than *source*; nothing was copied.
    """
    if source.size > destination.size:
        raise DestinationTooSmall(size=destination.size)
    extents = _sectors_whole(source.extents(start, source.size - start), start, source.size)
    with closing(_copied(_cut(extents), lanes)) as ends:
        for end in ends:
            progress(end)
    progress(source.size)


def copy_gzip(source: Volume, destination: Volume, *, progress: Progress) -> None:
    """Write the bytes of *source* into *destination* as one gzip member.

    Raises:
        DestinationTooSmall: the stream is longer than *destination*.
    """
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP_WBITS)
    sink = _Sink(destination)
    with _pieces(source) as pieces:
        for offset, piece in pieces:
            sink.take(packer.compress(piece))
            progress(offset + len(piece))
    sink.take(packer.flush())
    sink.end()


def copy_gunzip(source: Volume, destination: Volume, *, progress: Progress) -> None:
    """Write what the gzip stream at the start of *source* unpacks to into *destination*.

    One member or several; what follows the last and does not begin as a member does is padding.

    Raises:
        InvalidInput: *source* does not begin with a sound and complete gzip stream.
        DestinationTooSmall: what is unpacked is longer than *destination*.
    """
    written = 0
    with _pieces(source) as pieces, _ahead(_unpacked(pieces)) as items:
        for position, data in items:
            if written + len(data) > destination.size:
                raise DestinationTooSmall(size=destination.size)
            destination.pwrite(written, data)
            written += len(data)
            progress(position)
    progress(source.size)


def _sectors_whole(extents: Iterable[Extent], start: int, end: int) -> Iterator[Extent]:
    """Yield *extents*, which reach from *start* to *end*, with no sector in two of them.

    Sectors that are in part data are data: a file system's blocks may be smaller, and two threads
    that write to one sector of an encrypted volume would undo each other's part.
    """
    for extent in extents:
        edge = round_up(extent.end, SECTOR) if extent.is_data else extent.end // SECTOR * SECTOR
        stop = end if extent.end == end else min(edge, end)
        if stop > start:
            yield Extent(start, stop - start, extent.is_data)
            start = stop


def _cut(extents: Iterable[Extent]) -> Iterator[Extent]:
    """Cut data at each multiple of a piece; holes stay whole."""
    for extent in extents:
        if not extent.is_data:
            yield extent
            continue
        start = extent.offset
        while start < extent.end:
            stop = min(extent.end, start // PIECE * PIECE + PIECE)
            yield Extent(start, stop - start, is_data=True)
            start = stop


def _copied(pieces: Iterable[Extent], lanes: Sequence[Lane]) -> Generator[int]:
    """Copy *pieces* over all *lanes*; yield each one's end when it and all before it are there.

    The threads have ended when the iterator is closed.
    """
    idle = deque(_Copier(*lane) for lane in lanes)

    def copied(piece: Extent) -> int:
        # There are as many threads as copiers.
        copier = idle.pop()
        try:
            copier.copy(piece)
        finally:
            idle.append(copier)
        return piece.end

    pool = ThreadPoolExecutor(len(lanes), thread_name_prefix="copy")
    begun: deque[Future[int]] = deque()
    try:
        for piece in pieces:
            if len(begun) == 2 * len(lanes):
                yield begun.popleft().result()
            begun.append(pool.submit(copied, piece))
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class _Copier:
    """Copies one piece at a time between its own objects of two volumes."""

    def __init__(self, source: Volume, destination: Volume) -> None:
        self._source = source
        self._destination = destination
        self._buffer = memoryview(bytearray(_STEP))

    def copy(self, piece: Extent) -> None:
        if not piece.is_data:
            self._destination.zero(piece.offset, piece.length)
            return
        if self._destination.share(self._source, piece.offset, piece.length):
            return
        for offset in range(piece.offset, piece.end, _STEP):
            part = self._buffer[: min(_STEP, piece.end - offset)]
            self._source.pread(offset, part)
            self._destination.pwrite(offset, part)


@contextmanager
def _pieces(source: Volume) -> Iterator[Iterator[tuple[int, memoryview]]]:
    """Give out all of *source* with its offsets; each piece is good until the next."""
    whole = Extent(0, source.size, is_data=True)
    with _ahead(_filled(source, [whole])) as items:
        yield ((extent.offset, piece) for extent, piece in items if piece is not None)


def _filled(
    source: Volume, extents: Iterable[Extent]
) -> Iterator[tuple[Extent, memoryview | None]]:
    """Yield the data of *extents* by the piece, and their holes with None.

    There are two buffers, so a piece is good while the next one is read, and no longer.
    """
    buffers = itertools.cycle((memoryview(bytearray(PIECE)), memoryview(bytearray(PIECE))))
    for extent in extents:
        if not extent.is_data:
            yield extent, None
            continue
        for offset in range(extent.offset, extent.end, PIECE):
            piece = next(buffers)[: min(PIECE, extent.end - offset)]
            source.pread(offset, piece)
            yield Extent(offset, len(piece), is_data=True), piece


@contextmanager
def _ahead(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """Give out *items*, the next of which is made in a thread while the caller is at the one before.

    So one core reads and decrypts while another encrypts or packs and writes.  The thread has ended
    when the block has.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as reader:

        def following() -> Iterator[T]:
            promised = reader.submit(next, items, None)
            while (item := promised.result()) is not None:
                promised = reader.submit(next, items, None)
                yield item

        yield following()


class _Sink:
    """Puts a stream into a volume, from its start, in whole pieces."""

    def __init__(self, destination: Volume) -> None:
        self._destination = destination
        self._offset = 0
        self._waiting = bytearray()

    def take(self, data: bytes) -> None:
        """Take the next part of the stream."""
        if self._offset + len(self._waiting) + len(data) > self._destination.size:
            raise DestinationTooSmall(size=self._destination.size)
        self._waiting += data
        while len(self._waiting) >= PIECE:
            piece, self._waiting = self._waiting[:PIECE], self._waiting[PIECE:]
            self._put(piece)

    def end(self) -> None:
        """Write what is waiting."""
        self._put(self._waiting)

    def _put(self, piece: bytearray) -> None:
        self._destination.pwrite(self._offset, memoryview(piece))
        self._offset += len(piece)


def _unpacked(pieces: Iterable[tuple[int, memoryview]]) -> Iterator[tuple[int, memoryview]]:
    """Yield what the gzip stream in *pieces* unpacks to, in whole pieces but for the last.

    With each comes how much of the source is done.  There is an empty one when a piece of the source
    ends, and each is good while the next one is made, as in `_filled`.

    Raises:
        InvalidInput: this is no sound and complete gzip stream.
    """
    buffers = itertools.cycle((memoryview(bytearray(PIECE)), memoryview(bytearray(PIECE))))
    buffer, filled, position = next(buffers), 0, 0
    members = _Members()
    for offset, piece in pieces:
        for data in members.unpacked(piece):
            # A piece may unpack to a thousand times as much, and whoever cancels waits for it.
            rest = memoryview(data)
            while rest:
                part, rest = rest[: len(buffer) - filled], rest[len(buffer) - filled :]
                buffer[filled : filled + len(part)] = part
                filled += len(part)
                if filled == len(buffer):
                    yield offset, buffer
                    buffer, filled = next(buffers), 0
        position = offset + len(piece)
        if members.is_over:
            break
        yield position, buffer[:0]
    members.require_end()
    yield position, buffer[:filled]


class _Members:
    """Unpacks gzip members, one after the other, until something else follows."""

    def __init__(self) -> None:
        self.is_over = False
        self._count = 0
        self._head = b""
        self._inner: Unpacker | None = None

    def unpacked(self, data: memoryview) -> Iterator[bytes]:
        """Take more of the stream and yield what it unpacks to, at most 1 MiB at a time."""
        for at in range(0, len(data), _PART):
            rest = bytes(data[at : at + _PART])
            while rest and not self.is_over:
                if self._inner is None:
                    rest = self._begin(rest)
                if self._inner is not None:
                    rest = yield from self._member(self._inner, rest)

    def require_end(self) -> None:
        """Raise InvalidInput unless the stream was whole."""
        if self._inner is not None or not self._count:
            raise InvalidInput(reason="the source's gzip stream ends before its end")

    def _begin(self, rest: bytes) -> bytes:
        """Begin a member if *rest* does, and return what it begins with; else return nothing."""
        # The magic may be cut by the end of a part.
        start = self._head + rest
        if start.startswith(_MEMBER_MAGIC):
            self._inner = Unpacker()
            self._head = b""
            return start
        if _MEMBER_MAGIC.startswith(start):
            self._head = start
        elif self._count:
            self.is_over = True
        else:
            raise InvalidInput(reason="the source does not hold a gzip stream")
        return b""

    def _member(self, inner: Unpacker, data: bytes) -> Generator[bytes, None, bytes]:
        while True:
            try:
                yield inner.unpack(data, _STEP)
            except Damaged as error:
                raise InvalidInput(
                    reason=f"the source's gzip stream is damaged: {error}"
                ) from error
            if inner.is_over:
                self._count += 1
                self._inner = None
                return inner.unused
            if inner.needs_input:
                return b""
            data = b""
