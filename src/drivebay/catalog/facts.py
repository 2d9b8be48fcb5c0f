"""Single facts about the data folder: its identity, the pepper, the master key's fingerprint."""

from sqlalchemy import Connection, select

from drivebay.catalog.tables import facts


def get(tx: Connection, key: str) -> str | None:
    """Return what is recorded under *key*."""
    return tx.execute(select(facts.c.value).where(facts.c.key == key)).scalar()


def put(tx: Connection, key: str, value: str) -> None:
    """Record *value* under *key*, in the place of what was there."""
    tx.execute(facts.delete().where(facts.c.key == key))
    tx.execute(facts.insert(), {"key": key, "value": value})
