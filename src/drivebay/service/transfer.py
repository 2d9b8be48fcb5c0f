"""Reading from and writing to drives: who may, when, and what a success promises.

Every operation holds its range while it looks the drive up and moves the bytes, so a destroy, a
resize or an imaging never runs beside an operation that did not know of it.
"""

from uuid import UUID

from drivebay.catalog import jobs as job_rows
from drivebay.errors import (
    DriveBusy,
    InvalidInput,
    ReadPastEnd,
    WritePastEnd,
)
from drivebay.model import TRANSFER_MAX, Drive
from drivebay.service import access
from drivebay.service.context import Context
from drivebay.service.drives import faulting
from drivebay.service.holds import Check, held_range
from drivebay.service.inflate import Inflater
from drivebay.service.states import require_idle, require_sound, require_writable
from drivebay.storage.volume import Decode, Volume, WouldWait


def check_read(ctx: Context, caller: UUID, uuid: UUID, offset: int, length: int) -> None:
    """Raise what `read` would raise before it touches the volume."""
    _readable(caller, uuid, offset, length)(ctx.rows.drive(uuid))


def read(ctx: Context, caller: UUID, uuid: UUID, offset: int, buffer: memoryview) -> None:
    """Fill *buffer* with the drive's bytes from *offset*, at most 4 MiB, and count them.

    Raises:
        DriveNotFound: the caller may read no such drive.
        InvalidInput: *buffer* is longer than 4 MiB.
        ReadPastEnd: the range is not inside the drive.
        DriveBusy: the drive is being imaged.
        StorageFailed: the store failed.
    """
    check = _readable(caller, uuid, offset, len(buffer))
    if not buffer:
        drive = check(ctx.rows.drive(uuid))
    else:
        with held_range(ctx, uuid, check, offset, len(buffer), shared=True) as (drive, volume):
            volume.pread(offset, buffer)
    ctx.counters.add_read(drive.id, len(buffer))


def fetch_now(
    ctx: Context, caller: UUID, uuid: UUID, offset: int, buffer: memoryview
) -> Decode | None:
    """Do as `read` if that takes no waiting, and leave it to the caller to decode *buffer*.

    Returns None where it takes waiting; *buffer* is unspecified then.
    """
    length = len(buffer)
    if not length:
        return None  # It asks nothing of the volume, which may be out of reach.
    check = _readable(caller, uuid, offset, length)
    try:
        with held_range(ctx, uuid, check, offset, length, shared=True, now=True) as (drive, volume):
            decode = volume.fetch_now(offset, buffer)
    except WouldWait:
        return None
    if decode is not None:
        ctx.counters.add_read(drive.id, length)
    return decode


class SteadyReader:
    """Reads of one drive by one caller without waiting, for as long as nobody commits anything.

    What `fetch_now` finds out at each call is found out once.  Under the lock of each read the
    catalog's version tells whether all of it still holds.
    """

    def __init__(self, ctx: Context, caller: UUID, uuid: UUID, version: int) -> None:
        """Read for *caller*, whose credentials held at the catalog's *version*.

        Raises:
            WouldWait: to find out takes waiting.
            DrivebayError: the caller may not read the drive.
        """
        row = ctx.rows.kept_drive(uuid)
        if row is None:
            raise WouldWait
        self._ctx = ctx
        self._version = version
        self._drive = _readable(caller, uuid, 0, 0)(row)

    def read(self, offset: int, buffer: memoryview) -> bool:
        """Fill *buffer* and count it; or return False, and look into it from the start.

        Raises:
            WouldWait: that takes waiting; *buffer* is unspecified.
            StorageFailed: the store failed.
        """
        ctx, drive = self._ctx, self._drive
        length = len(buffer)
        if offset + length > drive.size:
            return False
        with (
            ctx.open_volume(drive, now=True) as volume,
            volume.locked(offset, length, shared=True, wait_s=0.0),
        ):
            if ctx.catalog.version() != self._version:
                return False
            if not volume.pread_now(offset, buffer):
                raise WouldWait
        ctx.counters.add_read(drive.id, length)
        return True


def _readable(caller: UUID, uuid: UUID, offset: int, length: int) -> Check:
    def check(row: Drive | None) -> Drive:
        drive = access.readable(row, caller, uuid)
        if length > TRANSFER_MAX:
            raise InvalidInput(
                reason=f"a read is at most {TRANSFER_MAX} bytes; {length} were asked for"
            )
        if offset + length > drive.size:
            raise ReadPastEnd(drive=uuid, offset=offset, length=length, size=drive.size)
        imaging = drive.imaging
        if imaging is not None and imaging.is_active:
            raise DriveBusy(drive=uuid, reason="it is being imaged")
        return drive

    return check


class Upload:
    """One write call: pieces of its body in, the drive's bytes out, in order.

    A body that decodes to at most 4 MiB is validated whole before its first byte is stored.  A
    longer one is applied in pieces as it arrives; *in_place* counts the bytes that are stored.
    `begin`, `feed` and `finish` block; call them in turn.
    """

    def __init__(
        self, ctx: Context, caller: UUID, drive: UUID, offset: int, *, length: int, gzip: bool
    ) -> None:
        """Write a body of *length* bytes, *gzip* or raw, onto the drive from *offset* on."""
        self._ctx = ctx
        self._caller = caller
        self._drive = drive
        self.offset = offset
        self.in_place = 0
        self._length = length
        self._inflater = Inflater(length) if gzip else None

    def begin(self, *, now: bool = False) -> None:
        """Find out whether the write may begin.

        Raises:
            DriveNotFound: the caller owns no such drive.
            DriveBusy: the drive is in use by an imaging.
            DriveFaulted: the drive's content is in doubt.
            WritePastEnd: the raw body does not fit.
            WouldWait: *now* was asked for, and it takes waiting.
        """
        look_up = self._ctx.rows.kept_drive if now else self._ctx.rows.drive
        row = look_up(self._drive)
        if now and row is None:
            raise WouldWait
        self._row = self._check(0 if self._inflater else self._length)(row)

    def feed(self, data: memoryview, *, is_last: bool = False) -> None:
        """Take the next part of the body, and `finish` after the last.

        *data* may be changed by the call.

        Raises:
            InvalidInput: the body is not one sound gzip stream.
            WritePastEnd: the body does not fit; it says how much is in place.
        """
        if self._inflater is None:
            self._store(data)
        else:
            for piece in self._inflater.pieces(data):
                self._store(memoryview(piece))
        if is_last:
            self.finish()

    def finish(self) -> None:
        """End the write: on return everything is durable and counted."""
        if self._inflater is not None:
            self._store(memoryview(self._inflater.rest()))
        if self.in_place == 0:
            # An empty body writes nothing, and is still a write that was answered.
            self._row = self._check(0)(self._ctx.rows.drive(self._drive))
        self._ctx.counters.add_write(self._row.id, self.in_place)

    def _store(self, data: memoryview) -> None:
        if not data:
            return
        ctx, uuid = self._ctx, self._drive
        offset = self.offset + self.in_place
        check = self._check(self.in_place + len(data))
        with held_range(ctx, uuid, check, offset, len(data), shared=False) as (row, volume):
            volume.pwrite(offset, data)
            flush(ctx, row, volume)
            if row.imaging is not None:
                with ctx.catalog.write() as tx:
                    job_rows.clear_failed(tx, uuid)
        self._row = row
        self.in_place += len(data)

    def _check(self, length: int) -> Check:
        """Return what lets the write go on while *length* bytes from its offset fit."""

        def check(row: Drive | None) -> Drive:
            drive = access.owned(row, self._caller, self._drive)
            require_idle(drive)
            require_writable(drive)
            require_sound(drive)
            if self.offset + length > drive.size:
                raise WritePastEnd(
                    drive=drive.uuid, offset=self.offset, size=drive.size, in_place=self.in_place
                )
            return drive

        return check


def flush(ctx: Context, drive: Drive, volume: Volume) -> None:
    """Make what was written to *volume* durable; a failure puts the drive out of service.

    Raises:
        StorageFailed: the drive is `inactive` from now on.
    """
    with faulting(ctx, drive, "a flush to its store failed"):
        volume.flush()
