"""Queries on imaging jobs.  Each takes a transaction first."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, case, false, select, update
from sqlalchemy import bindparam as bind

from drivebay.catalog.tables import drives, jobs
from drivebay.errors import CatalogFailed
from drivebay.model import Conversion, Job, JobState

COLUMNS = (
    jobs.c.id.label("job_id"),
    jobs.c.drive_uuid,
    jobs.c.drive_owner,
    jobs.c.source_uuid,
    jobs.c.source_owner,
    jobs.c.conversion,
    jobs.c.state.label("job_state"),
    jobs.c.position,
    jobs.c.total,
    jobs.c.cancelled,
    jobs.c.error,
)
"""What `from_row` takes, in this order."""

# Built once: to build a query takes longer than to run it.
_BY_DRIVE = select(*COLUMNS).where(jobs.c.drive_uuid == bind("drive"))


def from_row(row: Any) -> Job:
    """Return the job of a row with `COLUMNS`."""
    number, drive, drive_owner, source, source_owner, conversion, state, *rest = row
    position, total, cancelled, error = rest
    return Job(
        id=number,
        drive=UUID(drive),
        drive_owner=UUID(drive_owner),
        source=UUID(source),
        source_owner=UUID(source_owner),
        conversion=Conversion(conversion),
        state=JobState(state),
        position=position,
        total=total,
        cancelled=cancelled,
        # Before it fails, it is the error of the failed job that gave way.
        error=error if state == JobState.FAILED else "",
    )


def insert(tx: Connection, *, drive: UUID, source: UUID, conversion: Conversion, total: int) -> Job:
    """Queue imaging of *drive* from *source*, *total* bytes long; a failed job gives way.

    Raises:
        CatalogFailed: one of the drives is not there, or the drive has an active job.
    """
    both = select(drives.c.uuid, drives.c.owner).where(drives.c.uuid.in_([str(drive), str(source)]))
    owners = {row.uuid: row.owner for row in tx.execute(both)}
    if len(owners) != 2:
        raise CatalogFailed
    before = get(tx, drive)
    clear_failed(tx, drive)
    tx.execute(
        jobs.insert(),
        {
            "drive_uuid": str(drive),
            "drive_owner": owners[str(drive)],
            "source_uuid": str(source),
            "source_owner": owners[str(source)],
            "conversion": conversion,
            "state": JobState.QUEUED,
            "position": 0,
            "total": total,
            # What a failed job has left is there until this one puts something in its place.
            "started": before is not None,
            "cancelled": False,
            "error": "" if before is None else before.error,
        },
    )
    inserted = get(tx, drive)
    assert inserted is not None
    return inserted


def get(tx: Connection, drive: UUID) -> Job | None:
    """Return the job onto *drive*, failed ones included."""
    row = tx.execute(_BY_DRIVE, {"drive": str(drive)}).first()
    return None if row is None else from_row(row)


def active(tx: Connection) -> list[Job]:
    """Return the queued and running jobs, oldest first."""
    query = select(*COLUMNS).where(jobs.c.state != JobState.FAILED).order_by(jobs.c.id)
    return [from_row(row) for row in tx.execute(query)]


def claim_next(tx: Connection) -> Job | None:
    """Make the oldest queued job a running one and return it."""
    # Nodes that share a PostgreSQL catalog pass over each other's; SQLite's writers are alone.
    oldest = (
        select(*COLUMNS)
        .where(jobs.c.state == JobState.QUEUED, jobs.c.cancelled == false())
        .order_by(jobs.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = tx.execute(oldest).first()
    if row is None:
        return None
    claimed = from_row(row)
    changes = {"state": JobState.RUNNING, "started": True, "error": ""}
    tx.execute(update(jobs).where(jobs.c.id == claimed.id).values(changes))
    return get(tx, claimed.drive)


def record(tx: Connection, job: int, position: int) -> bool:
    """Record that *position* bytes of the source are durably done; False when it is cancelled."""
    row = tx.execute(select(jobs.c.cancelled).where(jobs.c.id == job)).first()
    if row is None or row.cancelled:
        return False
    tx.execute(update(jobs).where(jobs.c.id == job).values(position=position))
    return True


def fail(tx: Connection, job: int, error: str) -> None:
    """End the job as failed; it stays until the drive gets other content."""
    tx.execute(
        update(jobs)
        .where(jobs.c.id == job)
        .values(state=JobState.FAILED, cancelled=False, error=error)
    )


def finish(tx: Connection, job: int) -> None:
    """End the job as done: it leaves no row."""
    tx.execute(jobs.delete().where(jobs.c.id == job))


def cancel(tx: Connection, drive: UUID) -> None:
    """Ask the job onto *drive* to end.

    One that no runner ever had is gone at once, or makes room for the failure whose place it took.
    One that a restart has queued again has changed the drive and fails at once.  A running one is
    told when it next records its position.
    """
    onto = jobs.c.drive_uuid == str(drive)
    queued = jobs.c.state == JobState.QUEUED
    tx.execute(jobs.delete().where(onto, queued, jobs.c.started == false()))
    error = case((jobs.c.error == "", "cancelled by its owner"), else_=jobs.c.error)
    tx.execute(update(jobs).where(onto, queued).values(state=JobState.FAILED, error=error))
    tx.execute(update(jobs).where(onto, jobs.c.state == JobState.RUNNING).values(cancelled=True))


def requeue_running(tx: Connection) -> int:
    """Queue again what was running when its process ended; return how many there were."""
    running = jobs.c.state == JobState.RUNNING
    fail_cancelled = (
        update(jobs)
        .where(running, jobs.c.cancelled)
        .values(state=JobState.FAILED, cancelled=False, error="cancelled by its owner")
    )
    tx.execute(fail_cancelled)
    return tx.execute(update(jobs).where(running).values(state=JobState.QUEUED)).rowcount


def clear_failed(tx: Connection, drive: UUID) -> None:
    """Forget the failed job onto *drive*, if there is one."""
    tx.execute(
        jobs.delete().where(jobs.c.drive_uuid == str(drive), jobs.c.state == JobState.FAILED)
    )
