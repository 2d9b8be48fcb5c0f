"""Upload: a source's bytes onto a drive, in parallel pieces, packed where it pays."""

from array import array
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from drivebay.client.errors import VerificationFailed
from drivebay.client.pieces import PIECE, Range, checksum, is_zero, packed, ranges
from drivebay.client.session import Session
from drivebay.client.source import Piece, Source
from drivebay.client.transfer import CONNECTIONS, NoProgress, Progress, results
from drivebay.client.workers import Workers

# Stands in the table of checksums for a piece that was not sent.
_NOT_SENT = -1


@dataclass
class Upload:
    """The upload of *source* onto *drive*, whose bytes from *offset* on it replaces.

    With *is_new* the drive is known to hold zeros, and zeros are not sent.  *offset* is on the
    drive and in the source alike, starts at a piece, and moves on with every piece that is done.
    """

    session: Session
    drive: str
    source: Source
    offset: int = 0
    is_new: bool = False
    connections: int = CONNECTIONS
    progress: Progress = field(default_factory=NoProgress)

    def __post_init__(self) -> None:
        """Make room for one checksum a piece: 8 bytes for 4 MiB."""
        self.skipped = 0
        # What one run has sent the next one sends again whole: a piece has one checksum.
        self.offset -= self.offset % PIECE
        self._first = self.offset
        count = self.source.size // PIECE + 1
        self._checksums = array("q", [_NOT_SENT]) * count

    def run(self) -> None:
        """Send everything.

        Raises:
            TransferFailed: at a piece; *offset* is where a later upload can go on.
            LocalFailed: the source cannot be read; the same holds.
        """
        self.progress.start("uploading", total=self.source.size, done=self.offset)
        with Workers(self.connections) as workers:
            pieces = self.source.pieces(self._first)
            for item, is_hole in results("write", _by_range(workers.map(self._send, pieces))):
                if item.end <= self._first:
                    continue
                self.offset = item.end
                self.skipped += item.length if is_hole else 0
                self.progress.advance(item.length, is_hole=is_hole)

    def verify(self) -> None:
        """Read back every piece that was sent, by an earlier run too, and compare checksums.

        Raises:
            VerificationFailed: a piece reads differently.
            TransferFailed: a piece cannot be read.
        """
        sent = [
            item
            for item in ranges(0, self.source.size)
            if item.end <= self._first or self._checksum(item) != _NOT_SENT
        ]
        self.progress.start("verifying", total=sum(item.length for item in sent))
        with Workers(self.connections) as workers:
            for item, is_same in results("read", workers.map(self._is_same, sent)):
                if not is_same:
                    what = f"drive {self.drive}"
                    raise VerificationFailed(what=what, offset=item.offset)
                self.progress.advance(item.length)

    def _send(self, piece: Piece) -> bool:
        """Send one piece and return whether it was left out as a hole."""
        if piece.range.end <= self._first:
            if piece.data is not None:
                self._checksums[piece.range.offset // PIECE] = checksum(piece.data)
            return False
        data = self.source.load(piece)
        if data is None or is_zero(data):
            if self.is_new:
                return True
            data = data or bytes(piece.range.length)
        self._checksums[piece.range.offset // PIECE] = checksum(data)
        member = packed(data)
        self.session.write(
            self.drive,
            piece.range.offset,
            data if member is None else member,
            gzip=member is not None,
        )
        return False

    def _is_same(self, item: Range) -> bool:
        data = self.session.read(self.drive, item.offset, item.length)
        expected = self._checksum(item)
        if expected == _NOT_SENT:
            here = self.source.load(Piece(item))
            expected = checksum(here or bytes(item.length))
        return checksum(data) == expected

    def _checksum(self, item: Range) -> int:
        return self._checksums[item.offset // PIECE]


def _by_range(
    finished: Iterator[tuple[Piece, Future[bool]]],
) -> Iterator[tuple[Range, Future[bool]]]:
    return ((piece.range, future) for piece, future in finished)
