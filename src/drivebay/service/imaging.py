"""Imaging: copying one drive's content onto another, in the background.

A call writes a job into the catalog and wakes the job worker, which runs a few at a time.  While a
job is queued or running it holds both drives: nobody writes to either, nobody reads the
destination.  A raw copy resumes after a restart where it was durable; a conversion starts over,
since the stream before is gone.
"""

import logging
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from uuid import UUID

from drivebay.catalog import Transaction
from drivebay.catalog import drives as rows
from drivebay.catalog import jobs as job_rows
from drivebay.errors import (
    DestinationTooSmall,
    DrivebayError,
    DriveBusy,
    InvalidInput,
    StorageFailed,
)
from drivebay.model import ClaimAccess, Conversion, Drive, Job
from drivebay.service import access, fields
from drivebay.service.context import Context
from drivebay.service.drives import destroy, make
from drivebay.service.holds import held_whole
from drivebay.service.records import record
from drivebay.service.states import (
    failed_imaging,
    require_idle,
    require_sound,
    require_unclaimed,
)
from drivebay.service.transfer import flush
from drivebay.storage import copy
from drivebay.storage.volume import Volume
from drivebay.wire import Record

_log = logging.getLogger("drivebay.imaging")

RECORD_EVERY_S = 0.5
"""How often a running job makes its progress durable and looks whether it is cancelled."""

# Threads that copy for one job; a core reads or writes some 2 GB/s, and several jobs may run.
_LANES = max(1, min(4, os.cpu_count() or 1))

CANCEL_WAIT_S = 30.0
_CANCEL_POLL_S = 0.02


def parse_conversion(word: str) -> Conversion:
    """Return the conversion that a path names.

    Raises:
        InvalidInput: it names none.
    """
    if word not in {Conversion.GZIP, Conversion.GUNZIP}:
        raise InvalidInput(reason="CONVERSION must be gzip or gunzip")
    return Conversion(word)


def image(
    ctx: Context, caller: UUID, destination: UUID, source: UUID, conversion: Conversion
) -> Drive:
    """Queue imaging of *destination* from *source*; return the destination as it is then.

    Raises:
        DriveNotFound: the caller does not own the one or may not read the other.
        InvalidInput: the two are the same drive.
        DriveBusy: the destination is in use, or the source's content is not settled.
        DestinationTooSmall: known beforehand.
    """
    with ctx.catalog.read() as tx:
        _require_imageable(tx, caller, destination, source, conversion)

    def owned(row: Drive | None) -> Drive:
        return access.owned(row, caller, destination)

    def readable(row: Drive | None) -> Drive:
        return access.readable(row, caller, source)

    with ExitStack() as holds:
        # In one order for everybody, so that two calls cannot wait for each other.
        for uuid in sorted((destination, source)):
            is_source = uuid == source
            check = readable if is_source else owned
            holds.enter_context(held_whole(ctx, uuid, check, shared=is_source))
        with ctx.catalog.write() as tx:
            total = _require_imageable(tx, caller, destination, source, conversion).size
            job_rows.insert(
                tx, drive=destination, source=source, conversion=conversion, total=total
            )
            queued = access.owned(rows.get(tx, destination), caller, destination)
    ctx.wake_imaging()
    return queued


def _require_imageable(
    tx: Transaction, caller: UUID, destination: UUID, source: UUID, conversion: Conversion
) -> Drive:
    to = access.owned(rows.get(tx, destination), caller, destination)
    origin = access.readable(rows.get(tx, source), caller, source)
    if destination == source:
        raise InvalidInput(reason="a drive cannot be imaged from itself")
    require_idle(to)
    require_unclaimed(to)
    require_sound(to)
    _require_settled(origin)
    if conversion is Conversion.NONE and origin.size > to.size:
        raise DestinationTooSmall(size=to.size)
    return origin


def _require_settled(origin: Drive) -> None:
    if any(claim.access is ClaimAccess.WRITE for claim in origin.claims):
        raise DriveBusy(drive=origin.uuid, reason="a server may be writing to it")
    if origin.imaging is not None and origin.imaging.is_active:
        raise DriveBusy(drive=origin.uuid, reason="it is being imaged")
    if origin.fault or failed_imaging(origin):
        raise DriveBusy(drive=origin.uuid, reason="its content cannot be trusted")


def clone(
    ctx: Context, caller: UUID, source: UUID, conversion: Conversion, pairs: Mapping[str, str]
) -> Record:
    """Make a new drive and queue its imaging from *source*; return the new drive's record.

    The size is the source's where *pairs* give none (after `gunzip`, the raw size that a standard
    drive's record tells).  Raises as `create` and `image` do.
    """
    origin = access.readable(ctx.rows.drive(source), caller, source)
    size = origin.size
    if conversion is Conversion.GUNZIP and origin.standard and origin.standard.rawsize:
        size = origin.standard.rawsize
    given = {"name": origin.name, "size": str(size), **pairs}
    wanted = fields.for_create(given, defaults={"user": str(caller), "status": "active"})

    def require_state(tx: Transaction) -> None:
        _require_settled(access.readable(rows.get(tx, source), caller, source))

    drive = make(ctx, caller, wanted, require_state=require_state)
    try:
        queued = image(ctx, caller, drive.uuid, source, conversion)
    except DrivebayError:
        destroy(ctx, caller, drive.uuid)
        raise
    # Not looked up again: a small drive may be done, and who polls waits to see `imaging` go.
    return record(ctx, queued, caller)


def cancel(ctx: Context, caller: UUID, destination: UUID) -> None:
    """Stop imaging of *destination* and return when it has stopped.

    A job that had not begun leaves the drive as it was; one that had leaves it `failed`.

    Raises:
        DriveNotFound: the caller owns no such drive.
        DriveBusy: no imaging is underway, or it did not stop in time.
    """
    with ctx.catalog.write() as tx:
        drive = access.owned(rows.get(tx, destination), caller, destination)
        if drive.imaging is None or not drive.imaging.is_active:
            raise DriveBusy(drive=destination, reason="no imaging is underway to be cancelled")
        cancelled = drive.imaging.id
        job_rows.cancel(tx, destination)
    ctx.wake_imaging()
    deadline = time.monotonic() + CANCEL_WAIT_S
    while True:
        with ctx.catalog.read() as tx:
            job = job_rows.get(tx, destination)
        if job is None or job.id != cancelled or not job.is_active:
            return
        if time.monotonic() > deadline:
            raise DriveBusy(drive=destination, reason="the imaging has not stopped yet")
        time.sleep(_CANCEL_POLL_S)


class Stopping(Exception):
    """The job worker is to end."""


class _Cancelled(Exception):
    """The job's owner does not want it any more."""


class Runner:
    """Runs queued jobs, one at a time; use several for several at a time."""

    def __init__(self, ctx: Context) -> None:
        """Work in *ctx*."""
        self._ctx = ctx
        self._stopping = False

    def stop(self) -> None:
        """Make `run_next` end soon; the job it is at stays `running` for the next start."""
        self._stopping = True

    def run_next(self) -> bool:
        """Run the oldest queued job to its end; return False when there is none.

        Raises:
            Stopping: `stop` was called; what is durable is recorded.
        """
        if self._stopping:
            raise Stopping
        with self._ctx.catalog.write() as tx:
            job = job_rows.claim_next(tx)
        if job is None:
            return False
        _log.info("imaging %s from %s: started at %d", job.drive, job.source, job.position)
        try:
            self._run(job)
        except Stopping:
            raise
        except _Cancelled:
            self._end(job, "cancelled by its owner")
        except DrivebayError as error:
            self._end(job, str(error))
        except Exception:  # noqa: BLE001 - a job ends visibly, whatever went wrong
            _log.exception("imaging %s: unexpected failure", job.drive)
            self._end(job, "internal error; the log of the job worker has more")
        else:
            self._end(job, "")
        return True

    def _end(self, job: Job, error: str) -> None:
        with self._ctx.catalog.write() as tx:
            if error:
                job_rows.fail(tx, job.id, error)
            else:
                job_rows.finish(tx, job.id)
        _log.info("imaging %s from %s: %s", job.drive, job.source, error or "done")

    def _run(self, job: Job) -> None:
        with self._ctx.catalog.read() as tx:
            source, destination = rows.get(tx, job.source), rows.get(tx, job.drive)
        if source is None or destination is None:
            raise StorageFailed(operation="find the drives of the imaging")
        with ExitStack() as opened:

            def lane() -> copy.Lane:
                return (
                    opened.enter_context(self._ctx.open_volume(source)),
                    opened.enter_context(self._ctx.open_volume(destination)),
                )

            origin, to = lane()
            progress = _Progress(self, job, destination, to)
            match job.conversion:
                case Conversion.NONE:
                    lanes = [lane() for _ in range(_LANES)]
                    copy.copy_raw(origin, to, lanes, start=job.position, progress=progress)
                case Conversion.GZIP:
                    copy.copy_gzip(origin, to, progress=progress)
                case Conversion.GUNZIP:
                    copy.copy_gunzip(origin, to, progress=progress)
            flush(self._ctx, destination, to)

    def record(self, job: Job, destination: Drive, volume: Volume, position: int) -> None:
        """Make *position* durable, or say why the job is to end."""
        flush(self._ctx, destination, volume)
        with self._ctx.catalog.write() as tx:
            wanted = job_rows.record(tx, job.id, position)
        if not wanted:
            raise _Cancelled
        if self._stopping:
            raise Stopping


class _Progress:
    """Called after every piece; records at most every half second, since each record flushes."""

    def __init__(self, runner: Runner, job: Job, destination: Drive, volume: Volume) -> None:
        self._runner = runner
        self._job = job
        self._destination = destination
        self._volume = volume
        self._due = time.monotonic() + RECORD_EVERY_S

    def __call__(self, position: int) -> None:
        if time.monotonic() < self._due and not self._runner._stopping:  # noqa: SLF001
            return
        self._runner.record(self._job, self._destination, self._volume, position)
        self._due = time.monotonic() + RECORD_EVERY_S
