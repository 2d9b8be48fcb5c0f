"""Queries on users.  Each takes a transaction first."""

from typing import Any, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import Connection, Row, or_, select, update
from sqlalchemy import bindparam as bind

from drivebay.catalog.tables import users
from drivebay.errors import SetupFailed
from drivebay.model import User


class Changes(TypedDict, total=False):
    """What `change` can set: fields of `User`."""

    name: str
    key_hash: bytes
    enabled: bool
    quota_drives: int | None
    quota_bytes: int | None


_COLUMNS = (
    users.c.uuid,
    users.c.name,
    users.c.key_hash,
    users.c.enabled,
    users.c.quota_drives,
    users.c.quota_bytes,
)

# Built once: to build a query takes longer than to run it.
_BY_UUID = select(*_COLUMNS).where(users.c.uuid == bind("uuid"))


def insert(tx: Connection, user: User) -> None:
    """Record *user*.

    Raises:
        CatalogFailed: the uuid is taken.
    """
    tx.execute(
        users.insert(),
        {
            "uuid": str(user.uuid),
            "name": user.name,
            "key_hash": user.key_hash,
            "enabled": user.enabled,
            "quota_drives": user.quota_drives,
            "quota_bytes": user.quota_bytes,
        },
    )


def get(tx: Connection, uuid: UUID) -> User | None:
    """Return the user, disabled ones included."""
    row = tx.execute(_BY_UUID, {"uuid": str(uuid)}).first()
    return None if row is None else _from_row(row)


def find(tx: Connection, name_or_uuid: str) -> User | None:
    """Return the user of that uuid, or else of that name.

    Raises:
        SetupFailed: several users have the name.
    """
    matches = or_(users.c.uuid == name_or_uuid.lower(), users.c.name == name_or_uuid)
    rows = tx.execute(select(*_COLUMNS).where(matches).order_by(users.c.uuid)).all()
    found = [_from_row(row) for row in rows]
    for user in found:
        if str(user.uuid) == name_or_uuid.lower():
            return user
    if len(found) > 1:
        raise SetupFailed(
            reason=f"{len(found)} users are called {name_or_uuid}", hint="give the user's uuid"
        )
    return found[0] if found else None


def listed(tx: Connection) -> list[User]:
    """Return every user, oldest first."""
    query = select(*_COLUMNS).order_by(users.c.created_at, users.c.uuid)
    return [_from_row(row) for row in tx.execute(query)]


def change(tx: Connection, uuid: UUID, **changes: Unpack[Changes]) -> None:
    """Set fields of the user; without such a user nothing happens."""
    if changes:
        tx.execute(update(users).where(users.c.uuid == str(uuid)).values(**changes))


def lock(tx: Connection, uuid: UUID) -> None:
    """Keep other transactions that lock the user waiting until *tx* ends."""
    # On SQLite whoever writes is alone already, and FOR UPDATE is left out of the text.
    tx.execute(select(users.c.uuid).where(users.c.uuid == str(uuid)).with_for_update())


def _from_row(row: Row[*tuple[Any, ...]]) -> User:
    return User(
        uuid=UUID(row.uuid),
        name=row.name,
        key_hash=row.key_hash,
        enabled=row.enabled,
        quota_drives=row.quota_drives,
        quota_bytes=row.quota_bytes,
    )
