"""A claimed drive's bytes, as one connection of its server uses them.

What a call over HTTP finds out each time, a connection finds out once: may this claim's holder, is
the user enabled, what is the key.  Under the lock of each operation the catalog's version tells
whether anything was committed since, and then all of it is looked up again.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from uuid import UUID

from drivebay import keys
from drivebay.catalog import claims as claim_rows
from drivebay.errors import ClaimEnded
from drivebay.model import Claim, ClaimAccess, Drive, DriveState
from drivebay.service import access
from drivebay.service.accounts import pepper
from drivebay.service.context import Context
from drivebay.service.states import require_sound
from drivebay.service.transfer import flush
from drivebay.storage.pieces import Counter, NativePieces, Piece, native_pieces
from drivebay.storage.volume import Extent, Volume


def find(ctx: Context, ticket: str) -> Claim | None:
    """Return the claim that *ticket* opens, if it holds and its user is not shut out."""
    with ctx.catalog.read() as tx:
        found = claim_rows.by_ticket(tx, keys.hash_ticket(pepper(tx), ticket))
    if found is None:
        return None
    return found if holds(ctx, found) else None


def holds(ctx: Context, claim: Claim) -> bool:
    """Whether the claim still holds."""
    try:
        _held(ctx, claim)
    except ClaimEnded:
        return False
    return True


def _held(ctx: Context, claim: Claim) -> Drive:
    """Return the drive of *claim* as it is now.

    Raises:
        ClaimEnded: the claim does not hold any more, in whatever way.
    """
    drive, user = ctx.rows.drive(claim.drive), ctx.rows.user(claim.holder)
    if (
        drive is None
        or drive.state is not DriveState.READY
        or claim not in drive.claims
        or not access.may_read(claim.holder, drive)
        or (claim.access is ClaimAccess.WRITE and drive.owner != claim.holder)
        or user is None
        or not user.enabled
    ):
        raise ClaimEnded(drive=claim.drive)
    return drive


class Export:
    """A claimed drive, open for one connection; it serves one operation at a time.

    Have `Serving.connection` of the claim before it is made, so that whoever ends the claim waits
    for what is done with it.
    """

    def __init__(self, ctx: Context, claim: Claim) -> None:
        """Open the drive.

        Raises:
            ClaimEnded: the claim does not hold any more.
            DrivebayError: the drive cannot be opened.
        """
        self._ctx = ctx
        self._claim = claim
        self._version = ctx.catalog.version()
        self._drive = _held(ctx, claim)
        self._volume = ctx.open_volume(self._drive)

    def another(self) -> "Export":
        """Open the drive once more, for an operation beside those of this one."""
        return Export(self._ctx, self._claim)

    @property
    def drive(self) -> UUID:
        """The drive."""
        return self._drive.uuid

    @property
    def size(self) -> int:
        """The drive's length in bytes, which does not change while it is claimed."""
        return self._drive.size

    @property
    def may_write(self) -> bool:
        """Whether the server may write."""
        return self._claim.access is ClaimAccess.WRITE

    def check(self) -> None:
        """Make sure that the claim holds.

        Raises:
            ClaimEnded: it does not.
        """
        version = self._ctx.catalog.version()
        if version is None or version != self._version:
            self._look_up(version)

    def _look_up(self, version: int | None) -> None:
        before, self._drive = self._drive, _held(self._ctx, self._claim)
        if (before.size, before.store, before.wrapped_key) != (
            self._drive.size,
            self._drive.store,
            self._drive.wrapped_key,
        ):
            raise ClaimEnded(drive=before.uuid)  # It is another volume, or of another size.
        self._ctx.store_of(self._drive)
        self._version = version

    def reading(self, offset: int, length: int) -> "Hold":
        """Hold the range for reads inside it; the hold yields the volume.

        Raises:
            ClaimEnded: the claim does not hold any more.
        """
        return Hold(self, self._volume, self._volume.locked(offset, length, shared=True))

    def writing(self, offset: int, length: int) -> "Hold":
        """Hold the range for writes inside it; the hold yields the volume.

        Raises:
            ClaimEnded: the claim does not hold any more.
            DriveFaulted: the drive's content cannot be trusted.
        """
        assert self.may_write, "a write by a claim for reading"
        return Hold(
            self, self._volume, self._volume.locked(offset, length, shared=False), is_write=True
        )

    @property
    def version(self) -> int | None:
        """The catalog's version at which the claim was last seen to hold."""
        return self._version

    @property
    def is_sound(self) -> bool:
        """Whether the drive's content could be trusted then."""
        return not self._drive.fault

    def native_pieces(self, buffer: memoryview, *, longest: int) -> NativePieces | None:
        """Return native steps between the drive and *buffer*, where there are any for it."""
        place = self._ctx.catalog.change_counter()
        counter = None if place is None else Counter(*place)
        return native_pieces(self._volume, counter, buffer, longest=longest)

    def flush(self) -> None:
        """Make durable what was written by anybody before the call.

        Raises:
            ClaimEnded: the claim does not hold any more.
            StorageFailed: the drive is out of service from now on.
        """
        self.check()
        self.require_sound()
        self._ctx.store_of(self._drive)
        flush(self._ctx, self._drive, self._volume)

    def require_sound(self) -> None:
        """Refuse to build on content that a failed flush has left in doubt.

        Raises:
            DriveFaulted: it has.
        """
        require_sound(self._drive)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Yield the range's extents, as `Volume.extents` does; use it inside `reading`."""
        return self._volume.extents(offset, length)

    def count_reads(self, length: int, requests: int) -> None:
        """Count *requests* reads of *length* bytes together."""
        self._ctx.counters.add_read(self._drive.id, length, requests)

    def count_writes(self, length: int, requests: int) -> None:
        """Count *requests* writes of *length* bytes together."""
        self._ctx.counters.add_write(self._drive.id, length, requests)

    def close(self) -> None:
        """Give the volume back."""
        self._volume.close()


class Batches:
    """Small reads and writes between an export and one buffer, several at a time."""

    def __init__(self, export: Export, buffer: memoryview, *, longest: int) -> None:
        """Work on *export*; no piece is longer than *longest*."""
        self._export = export
        self._buffer = buffer
        self._native = export.native_pieces(buffer, longest=longest)

    def read(self, pieces: Sequence[Piece]) -> list[int]:
        """Fill the pieces, those in one step that are in memory, and count them.

        Returns the indexes of the others, which would take waiting for a disk.

        Raises:
            ClaimEnded: the claim does not hold any more.
            StorageFailed: the store or the counters failed.
        """
        done = 0
        missing: list[int] = []
        version = self._export.version
        if self._native is not None and version is not None:
            done = self._native.read(version, pieces)
        if done < len(pieces):
            missing = self._read_rest(pieces, done)
        length = _total(pieces)
        for index in missing:
            length -= pieces[index][1]
        if length:
            self._export.count_reads(length, len(pieces) - len(missing))
        return missing

    def _read_rest(self, pieces: Sequence[Piece], start: int) -> list[int]:
        low, high = _span(pieces[start:])
        with self._export.reading(low, high - low) as volume:
            return [
                index
                for index, (offset, length, at) in enumerate(pieces)
                if index >= start and not volume.pread_now(offset, self._buffer[at : at + length])
            ]

    def write(self, pieces: Sequence[Piece]) -> None:
        """Write the pieces, mostly in one step, and count them.

        Raises:
            ClaimEnded: the claim does not hold any more.
            DriveFaulted: the drive's content cannot be trusted.
            StorageFailed, StoreFull: the ranges hold old bytes, new bytes or a mix.
        """
        done = 0
        version = self._export.version
        if self._native is not None and version is not None and self._export.is_sound:
            done = self._native.write(version, pieces)
        if done < len(pieces):
            low, high = _span(pieces[done:])
            with self._export.writing(low, high - low) as volume:
                for offset, length, at in pieces[done:]:
                    volume.pwrite(offset, self._buffer[at : at + length])
        self._export.count_writes(_total(pieces), len(pieces))


def _total(pieces: Sequence[Piece]) -> int:
    return sum([length for _, length, _ in pieces])


def _span(pieces: Sequence[Piece]) -> tuple[int, int]:
    """Return where the first begins and the last ends, in the drive."""
    return (
        min(offset for offset, _, _ in pieces),
        max(offset + length for offset, length, _ in pieces),
    )


class Hold(AbstractContextManager[Volume]):
    """Holds a range of an export."""

    def __init__(
        self,
        export: Export,
        volume: Volume,
        lock: AbstractContextManager[None],
        *,
        is_write: bool = False,
    ) -> None:
        """Hold with *lock*; the claim is looked at inside it."""
        self._export = export
        self._volume = volume
        self._lock = lock
        self._is_write = is_write

    def __enter__(self) -> Volume:
        self._lock.__enter__()
        try:
            self._export.check()
            if self._is_write:
                self._export.require_sound()
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self._volume

    def __exit__(self, *_: object) -> None:
        self._lock.__exit__(None, None, None)
