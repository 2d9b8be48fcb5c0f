"""Queries on servers' claims.  Each takes a transaction first."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, update
from sqlalchemy import bindparam as bind

from drivebay.catalog.tables import claims
from drivebay.model import Claim, ClaimAccess

_COLUMNS = (
    claims.c.id,
    claims.c.drive_uuid,
    claims.c.server_uuid,
    claims.c.holder,
    claims.c.access,
    claims.c.ticket_hash,
)

_BY_DRIVE = select(*_COLUMNS).where(claims.c.drive_uuid == bind("drive")).order_by(claims.c.id)
_BY_TICKET = select(*_COLUMNS).where(claims.c.ticket_hash == bind("ticket_hash"))

# SQLite takes some 32,000 parameters a query.
_DRIVES_AT_ONCE = 10_000


def insert(tx: Connection, claim: Claim) -> Claim:
    """Record *claim* and return it with the id that it was given; its own is ignored.

    Raises:
        CatalogFailed: the server holds the drive already, or there is no such drive or holder.
    """
    row = {
        "drive_uuid": str(claim.drive),
        "server_uuid": str(claim.server),
        "holder": str(claim.holder),
        "access": claim.access,
        "ticket_hash": claim.ticket_hash,
    }
    tx.execute(claims.insert(), row)
    for inserted in of_drive(tx, claim.drive):
        if inserted.server == claim.server:
            return inserted
    raise AssertionError("a row that was inserted is there")


def of_drive(tx: Connection, drive: UUID) -> tuple[Claim, ...]:
    """Return the claims on *drive*, oldest first."""
    return tuple(map(_from_row, tx.execute(_BY_DRIVE, {"drive": str(drive)})))


def of_drives(tx: Connection, drives: Iterable[str]) -> Mapping[str, tuple[Claim, ...]]:
    """Return the claims on each of *drives* that has any, oldest first."""
    found: dict[str, tuple[Claim, ...]] = {}
    wanted = list(drives)
    for start in range(0, len(wanted), _DRIVES_AT_ONCE):
        some = wanted[start : start + _DRIVES_AT_ONCE]
        query = select(*_COLUMNS).where(claims.c.drive_uuid.in_(some)).order_by(claims.c.id)
        for row in tx.execute(query):
            found[row.drive_uuid] = (*found.get(row.drive_uuid, ()), _from_row(row))
    return found


def of_holder(tx: Connection, holder: UUID) -> list[Claim]:
    """Return the claims that the user made, oldest first."""
    query = select(*_COLUMNS).where(claims.c.holder == str(holder)).order_by(claims.c.id)
    return [_from_row(row) for row in tx.execute(query)]


def by_ticket(tx: Connection, ticket_hash: bytes) -> Claim | None:
    """Return the claim whose ticket has that hash."""
    row = tx.execute(_BY_TICKET, {"ticket_hash": ticket_hash}).first()
    return None if row is None else _from_row(row)


def void(tx: Connection, claim: int) -> None:
    """Let no ticket open the drive by this claim any more."""
    tx.execute(update(claims).where(claims.c.id == claim).values(ticket_hash=None))


def delete(tx: Connection, claim: int) -> None:
    """Forget the claim; without such a claim nothing happens."""
    tx.execute(claims.delete().where(claims.c.id == claim))


def _from_row(row: Any) -> Claim:
    return Claim(
        id=row.id,
        drive=UUID(row.drive_uuid),
        server=UUID(row.server_uuid),
        holder=UUID(row.holder),
        access=ClaimAccess(row.access),
        ticket_hash=row.ticket_hash,
    )
