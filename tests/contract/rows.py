"""Rows for catalogs: users, drives and jobs with all that need not be said filled in."""

from typing import Any
from uuid import UUID, uuid4

from drivebay.catalog import Transaction, drives, jobs, users
from drivebay.model import Conversion, Drive, Job, User


def a_user(**fields: Any) -> User:
    """Return a user that no catalog has yet."""
    return User(**{"uuid": uuid4(), "name": "", "key_hash": bytes(32), **fields})


def a_drive(owner: UUID, **fields: Any) -> Drive:
    """Return a drive that no catalog has yet."""
    return Drive(
        **{"uuid": uuid4(), "owner": owner, "name": "web", "size": 4096, "store": "a", **fields}
    )


def add_user(tx: Transaction, **fields: Any) -> User:
    """Record a new user."""
    user = a_user(**fields)
    users.insert(tx, user)
    return user


def add_drive(tx: Transaction, owner: UUID, **fields: Any) -> Drive:
    """Record a new drive."""
    return drives.insert(tx, a_drive(owner, **fields))


def add_job(tx: Transaction, drive: Drive, source: Drive, total: int = 100) -> Job:
    """Record a new job."""
    return jobs.insert(
        tx, drive=drive.uuid, source=source.uuid, conversion=Conversion.NONE, total=total
    )
