"""Queries on drives.  Each takes a transaction first."""

import json
from collections.abc import Mapping
from typing import Any, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    exists,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy import bindparam as bind

from drivebay.catalog import claims as claim_rows
from drivebay.catalog import jobs as job_rows
from drivebay.catalog.tables import claims, drives, jobs
from drivebay.model import (
    Cipher,
    Claim,
    ClaimType,
    Drive,
    DriveState,
    Job,
    Standard,
    Usage,
)
from drivebay.units import MIB


class Changes(TypedDict, total=False):
    """What `change` can set: fields of `Drive`."""

    name: str
    size: int
    claim_type: ClaimType
    readers: tuple[str, ...]
    tags: tuple[str, ...]
    user_data: Mapping[str, str]
    state: DriveState
    wrapped_key: bytes | None
    fault: str
    standard: Standard | None


def insert(tx: Connection, drive: Drive) -> Drive:
    """Record *drive* and return it with the id that it was given; `id`, `jobs` and `claims` are ignored.

    Raises:
        CatalogFailed: the uuid is taken, or there is no such owner.
    """
    row = {
        "uuid": str(drive.uuid),
        "owner": str(drive.owner),
        "name": drive.name,
        "size": drive.size,
        "cipher": drive.cipher,
        "claim_type": drive.claim_type,
        "readers": _text(list(drive.readers)),
        "tags": _text(list(drive.tags)),
        "user_data": _text(dict(drive.user_data)),
        "tier": drive.tier,
        "store": drive.store,
        "state": drive.state,
        "wrapped_key": drive.wrapped_key,
        "fault": drive.fault,
        **_standard_columns(drive.standard),
    }
    tx.execute(drives.insert(), row)
    inserted = get(tx, drive.uuid)
    assert inserted is not None
    return inserted


def get(tx: Connection, uuid: UUID) -> Drive | None:
    """Return the drive in whatever state, with its jobs and claims."""
    found = _drives(tx, _BY_UUID, uuid=str(uuid))
    return found[0] if found else None


def owned(tx: Connection, owner: UUID) -> list[Drive]:
    """Return the ready drives of *owner* with jobs and claims, oldest first."""
    return _drives(tx, _BY_OWNER, owner=str(owner))


def standard(tx: Connection) -> list[Drive]:
    """Return everybody's ready standard drives with jobs and claims, oldest first."""
    return _drives(tx, _STANDARD)


def unfinished(tx: Connection) -> list[Drive]:
    """Return the drives whose creation or destruction has not come to its end, oldest first."""
    return _drives(tx, _UNFINISHED)


def all_ready(tx: Connection) -> list[Drive]:
    """Return everybody's ready drives with jobs and claims, oldest first."""
    return _drives(tx, _READY)


def change(tx: Connection, uuid: UUID, **changes: Unpack[Changes]) -> None:
    """Set fields of the drive; without such a drive nothing happens."""
    row: dict[str, object] = {}
    for name, value in changes.items():
        row |= _columns(name, value)
    if row:
        tx.execute(drives.update().where(drives.c.uuid == str(uuid)), row)


def delete(tx: Connection, uuid: UUID) -> None:
    """Forget the drive, the imaging job onto it and its claims, if there are any.

    On SQLite its bytes, the wrapped key among them, are overwritten in the database file.
    """
    tx.execute(drives.delete().where(drives.c.uuid == str(uuid)))


def usage(tx: Connection, owner: UUID) -> Usage:
    """Return what *owner* has; drives on their way in count, those on their way out do not."""
    count, mebibytes, rest = tx.execute(_USAGE, {"owner": str(owner)}).one()
    return Usage(drives=count, size_bytes=int(mebibytes) * MIB + int(rest))


_DRIVE_COLUMNS = (
    drives.c.id.label("drive_id"),
    drives.c.uuid,
    drives.c.owner,
    drives.c.name,
    drives.c.size,
    drives.c.cipher,
    drives.c.claim_type,
    drives.c.readers,
    drives.c.tags,
    drives.c.user_data,
    drives.c.tier,
    drives.c.store,
    drives.c.state.label("drive_state"),
    drives.c.wrapped_key,
    drives.c.fault,
    drives.c.standard_media,
    drives.c.standard_format,
    drives.c.standard_rawsize,
    # Almost no drive is claimed, so the claims themselves are asked for only where there are some.
    exists().where(claims.c.drive_uuid == drives.c.uuid).label("is_claimed"),
)

# States stand in the text, not in a parameter, so that SQLite can use the partial indexes.
_IS_READY = drives.c.state == literal_column("'ready'")


def _with_jobs(condition: ColumnElement[bool]) -> Select[Any]:
    """Select drives, one row for each job that the drive is part of and at least one."""
    takes_part = or_(jobs.c.drive_uuid == drives.c.uuid, jobs.c.source_uuid == drives.c.uuid)
    return (
        select(*_DRIVE_COLUMNS, *job_rows.COLUMNS)
        .select_from(drives.outerjoin(jobs, takes_part))
        .where(condition)
        .order_by(drives.c.id, jobs.c.id)
    )


_BY_UUID = _with_jobs(drives.c.uuid == bind("uuid"))
_BY_OWNER = _with_jobs(and_(drives.c.owner == bind("owner"), _IS_READY))
_STANDARD = _with_jobs(and_(drives.c.standard_media.is_not(None), _IS_READY))
_UNFINISHED = _with_jobs(drives.c.state != literal_column("'ready'"))
_READY = _with_jobs(_IS_READY)

# Sizes go up to 2**63-1, so two of them overflow SQLite's sum: add up the parts above and below
# 1 MiB.
_USAGE = select(
    func.count(),
    # `op`, since for `//` SQLAlchemy calls FLOOR, which on SQLite is Python's and called row by row.
    func.coalesce(func.sum(drives.c.size.op("/")(literal_column(str(MIB)))), 0),
    func.coalesce(func.sum(drives.c.size % literal_column(str(MIB))), 0),
).where(
    drives.c.owner == bind("owner"),
    drives.c.state != literal_column("'destroying'"),
)


def _drives(tx: Connection, query: Select[Any], **parameters: str) -> list[Drive]:
    width = len(_DRIVE_COLUMNS)
    found: list[Drive] = []
    rows = tx.execute(query, parameters).all()
    claimed = claim_rows.of_drives(tx, dict.fromkeys(row.uuid for row in rows if row.is_claimed))
    start = 0
    while start < len(rows):
        first = rows[start]
        end = start + 1
        while end < len(rows) and rows[end][0] == first[0]:
            end += 1
        taking_part = tuple(
            job_rows.from_row(row[width:]) for row in rows[start:end] if row[width] is not None
        )
        found.append(_from_row(first, taking_part, claimed.get(first.uuid, ())))
        start = end
    return found


def _from_row(row: Row[Any], taking_part: tuple[Job, ...], claimed: tuple[Claim, ...]) -> Drive:
    standard_drive = None
    if row.standard_media is not None:
        standard_drive = Standard(
            media=row.standard_media, format=row.standard_format, rawsize=row.standard_rawsize
        )
    return Drive(
        id=row.drive_id,
        uuid=UUID(row.uuid),
        owner=UUID(row.owner),
        name=row.name,
        size=row.size,
        cipher=Cipher(row.cipher),
        claim_type=ClaimType(row.claim_type),
        readers=tuple(json.loads(row.readers)),
        tags=tuple(json.loads(row.tags)),
        user_data=json.loads(row.user_data),
        tier=row.tier,
        store=row.store,
        state=DriveState(row.drive_state),
        wrapped_key=row.wrapped_key,
        fault=row.fault,
        standard=standard_drive,
        jobs=taking_part,
        claims=claimed,
    )


def _standard_columns(value: Standard | None) -> dict[str, object]:
    return {
        "standard_media": None if value is None else value.media,
        "standard_format": None if value is None else value.format,
        "standard_rawsize": None if value is None else value.rawsize,
    }


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _columns(name: str, value: Any) -> dict[str, object]:
    match name:
        case "standard":
            return _standard_columns(value)
        case "readers" | "tags":
            return {name: _text(list(value))}
        case "user_data":
            return {name: _text(dict(value))}
        case _:
            return {name: value}
